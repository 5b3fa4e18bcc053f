"""(5) Optimise Gaussians so that they render given photographs and frames (Kerbl et al. 2023).

Table 4 of VideoScene compares scenes that were made in this way.

targets            the photographs and frames, with the weight of each pixel
find_cameras       cameras of photographs that have none, by COLMAP
initial_gaussians  a first scene of many posed photographs, from the prior
merge              fewer Gaussians, where there are more than the budget allows
fill_gaps          new Gaussians in the holes of the frames
optimise           the loop
checkpoint         the state that a step of the loop reads and writes
position_steps     the directions and lengths in which Gaussians move
whole_surfaces     smallest sizes of Gaussians and a loss on holes, so that surfaces stay whole from nearer
picture_loss       L1 and SSIM, with a weight per pixel
density            transparent Gaussians are removed, others split
quality            how well a scene shows its targets
tracks             points for the COLMAP model, from matches
orbit_and_depth    the camera path about the scene, and its depth as grey images
presentation       what is shown of a finished scene: videos along two paths, and points for the COLMAP model
viewer_formats     files for viewers
web_page           a page that shows the scene in a browser
"""

from stages.reconstruct.checkpoint import State, load_checkpoint, save_checkpoint
from stages.reconstruct.optimise import (
    GAUSSIANS,
    GAUSSIANS_OF_A_CLOUD,
    STEPS,
    STEPS_OF_A_CLIP,
    STEPS_OF_A_PAIR,
    Progress,
    Reconstruction,
    Settings,
    reconstruct,
)
from stages.reconstruct.targets import Targets, gather

__all__ = [
    "GAUSSIANS",
    "GAUSSIANS_OF_A_CLOUD",
    "STEPS",
    "STEPS_OF_A_CLIP",
    "STEPS_OF_A_PAIR",
    "Progress",
    "Reconstruction",
    "Settings",
    "State",
    "Targets",
    "gather",
    "load_checkpoint",
    "reconstruct",
    "save_checkpoint",
]
