"""What `reconstruct` works from, its run, what it leaves, its viewer."""
