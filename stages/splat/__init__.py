"""The differentiable renderer of Gaussians.

draw        renders Gaussians from cameras (stages/scene.py) into images, alpha and depth
near_plane  the distance from a camera within which Gaussians are not rendered
backend     the name of the implementation that a device uses
"""

from stages.splat.dispatch import backend
from stages.splat.drawing import NEAR, Drawing, draw, near_plane

__all__ = ["NEAR", "Drawing", "backend", "draw", "near_plane"]
