"""What is in the way of a camera path: in words for stderr, and as facts for manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.files.stored_clip import StoredClip
    from stages.scene import Clip
    from stages.walk import Walk

# A surface fills the part of a picture in which it is nearer than this many times the clearance that cameras need.
FILLS = 2.0
LEAST_SHARE = 0.05  # a smaller part of the picture is not mentioned


@dataclass(frozen=True)
class Seen:
    """What the frames along a walk show, noted while they are rendered.

    coverage: the mean coverage of each frame, in [0, 1].
    filled: for each blocked frame, the share of its picture that the surface in the way fills, by the frame's number.
    """

    walk: Walk
    coverage: list[float] = field(default_factory=list)
    filled: dict[int, float] = field(default_factory=dict)

    def watch(self, parts: Iterable[StoredClip]) -> Iterator[StoredClip]:
        """Pass on the parts of the clip at the cameras of the walk, and note what they show."""
        for part in parts:
            assert part.coverage is not None, "renders have coverage"
            for n, coverage in enumerate(part.coverage):
                frame = len(self.coverage)
                self.coverage.append(float(coverage.float().mean()) / 255)
                if frame in self.walk.blocked:
                    self.filled[frame] = self._share_filled(part.clip([n]))
            yield part

    @property
    def mean_coverage(self) -> float:
        """The mean coverage of all pixels, in [0, 1]."""
        return sum(self.coverage) / len(self.coverage)

    @property
    def most_filled(self) -> tuple[float, int]:
        """The largest share of a picture that the surface in the way fills, and the number of that frame."""
        frame = max(self.filled, key=self.filled.__getitem__)
        return self.filled[frame], frame

    def _share_filled(self, frame: Clip) -> float:
        assert frame.depth is not None, "renders have depth"
        assert frame.coverage is not None, "renders have coverage"
        close = (frame.depth < FILLS * self.walk.needed * self.walk.depth) & (frame.coverage > 0.5)
        return float(close.float().mean())


def clearance_facts(seen: Seen) -> dict[str, Any]:
    """For the manifest: the least clearance on the path and its frame, what was in the way, and the bend.

    Lengths are shares of the scene's depth. The least clearance is 0.25 at most, because a larger one is not measured.
    """
    walk = seen.walk
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
        share, frame = seen.most_filled
        facts["fills"] = {"share": round(share, 4), "frame": frame}
    return facts


def obstacle_message(seen: Seen, path: str) -> str:
    """One sentence on what is in the way. path: the name of the path that was asked for."""
    walk, what = seen.walk, "a surface"
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
    share, frame = seen.most_filled
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
