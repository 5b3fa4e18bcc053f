"""The differentiable Gaussian renderer.

rasterization  gsplat 1.5.3's function on any device
draw           Gaussians and Cameras of stages/scene.py in, images out
backend        which implementation a device gets
"""

from stages.splat.dispatch import backend, rasterization
from stages.splat.drawing import Drawing, draw

__all__ = ["Drawing", "backend", "draw", "rasterization"]
