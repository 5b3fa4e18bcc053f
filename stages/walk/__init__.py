"""Whether a camera path can be walked: how near it comes to the scene's surfaces, and a way around them.

clearance   how near the cameras of a path come to the surfaces of the scene
detour      bends a path around what is in its way
"""

from stages.walk.detour import Walk, walk

__all__ = ["Walk", "walk"]
