"""The differentiable Gaussian renderer.

rasterization  gsplat 1.5.3's function on any device
draw           Gaussians and Cameras of stages/scene.py in, images out
near_plane     what is too near to a camera to be drawn
backend        which implementation a device gets
"""

from stages.splat.dispatch import backend, rasterization
from stages.splat.drawing import NEAR, Drawing, draw, near_plane

__all__ = ["NEAR", "Drawing", "backend", "draw", "near_plane", "rasterization"]
