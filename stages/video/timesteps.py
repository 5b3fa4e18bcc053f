"""The number of timesteps, apart from the schedule: a recipe is checked without torch, whose import takes seconds."""

STEPS = 1000
