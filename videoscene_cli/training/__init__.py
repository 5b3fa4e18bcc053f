"""The runs that train: `distill`, and the prior's `make train-prior`."""
