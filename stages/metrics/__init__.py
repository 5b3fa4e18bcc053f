"""How good are the frames: against the truth (image, lpips, fvd on i3d), in time (temporal), in space (camera_consistency)."""
