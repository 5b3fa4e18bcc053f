"""What is in the way of a camera path: in words for stderr, and as facts for manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.files.stored_clip import StoredClip
    from stages.walk import Walk

# A surface fills the part of a picture in which it is nearer than this many times the clearance that cameras need.
FILLS = 2.0
LEAST_SHARE = 0.05  # a smaller part of the picture is not mentioned


def picture_filled(walk: Walk, clip: StoredClip) -> tuple[float, int]:
    """The largest share of a picture that the surface in the way fills, and the number of that frame.

    clip: the frames at the cameras of `walk`, with depth and coverage.
    """
    frames = clip.clip(walk.blocked)
    assert frames.depth is not None, "renders have depth"
    assert frames.coverage is not None, "renders have coverage"
    close = (frames.depth < FILLS * walk.needed * walk.depth) & (frames.coverage > 0.5)
    share = close.float().mean((1, 2))
    return float(share.max()), walk.blocked[int(share.argmax())]


def clearance_facts(walk: Walk, clip: StoredClip) -> dict[str, Any]:
    """For the manifest: the least clearance on the path and its frame, what was in the way, and the bend.

    Lengths are shares of the scene's depth. The least clearance is 0.25 at most, because a larger one is not measured.
    """
    facts: dict[str, Any] = {
        "least": round(float(walk.clearance.min()), 4),
        "frame": int(walk.clearance.argmin()),
        "needed": round(walk.needed, 4),
        "blocked frames": walk.blocked,
        "bend": walk.bend,
    }
    if walk.obstacle is not None:
        photograph, x, y = walk.obstacle
        facts["obstacle"] = {"photograph": photograph, "place": [round(x, 3), round(y, 3)]}
    if walk.bend:
        facts["direction"] = walk.direction
    elif walk.blocked:
        share, frame = picture_filled(walk, clip)
        facts["fills"] = {"share": round(share, 4), "frame": frame}
    return facts


def obstacle_message(walk: Walk, clip: StoredClip, path: str) -> str:
    """One sentence on what is in the way. path: the name of the path that was asked for."""
    what = "a surface"
    if walk.obstacle is not None:
        photograph, x, y = walk.obstacle
        name = ("first", "second")[photograph]
        what = f"what the {name} photograph shows at {x:.0%} of its width and {y:.0%} of its height"
    where = f"in {_frames(walk.blocked)}"
    if walk.bend:
        return (
            f"the straight path leads through {what}, {where}: it is bent {walk.direction} around it by "
            f"{walk.bend:.0%} of the scene's depth (--path straight keeps it)"
        )
    share, frame = picture_filled(walk, clip)
    fills = f"; it fills {share:.0%} of frame {frame}" if share > LEAST_SHARE else ""
    found = ", and no way around it was found" if path == "interp" else ""
    return f"the camera path leads through {what}, {where}{found}{fills}"


def _frames(numbers: list[int]) -> str:
    """`frame 3`, `frames 3 to 5`, or `frames 3 to 5, 9`. numbers: ascending."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return ("frames " if len(numbers) > 1 else "frame ") + words
