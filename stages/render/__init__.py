"""(2) Coarse Gaussians -> a clip along a camera path, with coverage and depth.

render, render_parts                 frames: the Gaussians of each photograph are a layer, and both layers are blended
one_cloud                            the scene as one cloud of Gaussians, for viewers
blend_layers, nearness, fill_holes   the steps of a frame that training needs too

The other files hold one idea each: surfaces (surfaces.py), sharp colours from the photographs (photographs.py), the
small misalignment of the two photographs (alignment.py), their difference in light (light.py), what a photograph shows
at its own camera (own_view.py), the pictures that the cloud is made from (pictures.py), and the calls of the C++ kernel
(kernel.py).
"""

from stages.render.cloud import one_cloud
from stages.render.frames import render, render_parts
from stages.render.holes import fill_holes
from stages.render.layers import BEHIND, SURFACE_ALPHA, blend_layers, nearness

__all__ = [
    "BEHIND",
    "SURFACE_ALPHA",
    "blend_layers",
    "fill_holes",
    "nearness",
    "one_cloud",
    "render",
    "render_parts",
]
