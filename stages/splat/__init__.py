"""The differentiable Gaussian renderer.

draw        Gaussians and Cameras of stages/scene.py in, images out
near_plane  what is too near to a camera to be drawn
backend     which implementation a device gets
"""

from stages.splat.dispatch import backend
from stages.splat.drawing import NEAR, Drawing, draw, near_plane

__all__ = ["NEAR", "Drawing", "backend", "draw", "near_plane"]
