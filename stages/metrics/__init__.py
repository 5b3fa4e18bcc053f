"""How good are the frames: against the truth (image, perceptual, fvd), in time (temporal), in space (geometry)."""
