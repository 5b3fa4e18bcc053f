"""The stages of VideoScene. `stages.pipeline` is the whole chain.

    from stages import find_views, predict_gaussians, render_path, repair_clip, refine_gaussians

Two photographs -> views with cameras -> coarse Gaussians -> clip along a path -> repaired clip -> refined Gaussians.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.pipeline import find_views, predict_gaussians, refine_gaussians, render_path, repair_clip

__all__ = ["find_views", "predict_gaussians", "refine_gaussians", "render_path", "repair_clip"]


def __getattr__(name: str) -> Any:
    """Import the chain, and torch with it, on first use: `videoscene --help` needs neither."""
    if name not in __all__:
        raise AttributeError(f"module 'stages' has no attribute {name!r}")
    from stages import pipeline

    return getattr(pipeline, name)
