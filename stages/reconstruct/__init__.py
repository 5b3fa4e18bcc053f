"""(6) A clip and its cameras -> refined Gaussians (the paper's Table 4; Kerbl et al. 2023).

targets    the photographs and the frames with their weights
thin       the prior's Gaussians, merged to a budget
fill       new ones in the holes of the frames
moves      how far a Gaussian may go, and whereto
loss       L1 + SSIM, weighted by pixel
state      everything that a step reads and writes; checkpoints
density    prune the transparent, split where the pictures ask for detail
optimise   the loop
tracks     matched points for the COLMAP model
export     files for viewers; page, the one that opens in a browser
"""

from stages.reconstruct.optimise import STEPS, STEPS_OF_A_CLIP, STEPS_OF_A_PAIR, Reconstruction, Settings, reconstruct
from stages.reconstruct.state import State, load_checkpoint, save_checkpoint
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
