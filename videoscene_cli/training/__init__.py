"""The runs that train: `distill` for a student or a prior; and furnished worlds."""
