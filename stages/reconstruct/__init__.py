"""(6) A clip and its cameras -> refined Gaussians (the paper's Table 4; Kerbl et al. 2023).

targets            the photographs and the frames with their weights
initial_gaussians  the prior on pairs of posed photographs     find_cameras  COLMAP, for photographs without cameras
merge              the prior's Gaussians, merged to a budget
fill_gaps          new ones in the holes of the frames
position_steps     how far a Gaussian may go, and whereto
picture_loss       L1 + SSIM, weighted by pixel
checkpoint         everything that a step reads and writes
density            prune the transparent, split where the pictures ask for detail
optimise           the loop
quality            how well a scene shows its targets
tracks             matched points for the COLMAP model
orbit_and_depth    the path round the scene, its depth as pictures
viewer_formats     files for viewers; web_page, the one that opens in a browser
"""

from stages.reconstruct.checkpoint import State, load_checkpoint, save_checkpoint
from stages.reconstruct.optimise import STEPS, STEPS_OF_A_CLIP, STEPS_OF_A_PAIR, Reconstruction, Settings, reconstruct
from stages.reconstruct.targets import Targets, gather

__all__ = [
    "STEPS",
    "STEPS_OF_A_CLIP",
    "STEPS_OF_A_PAIR",
    "Reconstruction",
    "Settings",
    "State",
    "Targets",
    "gather",
    "load_checkpoint",
    "reconstruct",
    "save_checkpoint",
]
