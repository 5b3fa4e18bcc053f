"""The inputs of `reconstruct`, its optimisation, its outputs and its viewer."""
