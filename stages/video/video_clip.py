"""What is kept of a render that becomes a video file: all frames, and small copies of the key frames for a student.

Coverage and depth of the full frames, which only a scene folder needs, would take half of the memory. What the student
changes is added to each frame when it is encoded, so there are never two full clips in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.files.stored_clip import StoredClip
from stages.scene import Cameras, Clip
from stages.sizes import network_size
from stages.video.full_size import Repair, key_frames, middle, repaired_frames, small_clip


@dataclass(frozen=True, eq=False)
class VideoClip:
    """A render that becomes a video file.

    clip: all frames, without coverage and depth.
    small: the key frames in the size in which the student works, with coverage and depth; None without a student.
    """

    clip: StoredClip
    small: Clip | None

    @classmethod
    def of(cls, clip: StoredClip, short_side: int | None) -> VideoClip:
        """What is kept of a clip. short_side: that of the frames the student repairs, px; None without a student."""
        small = None
        if short_side is not None:
            small = small_clip(clip, network_size(clip.cameras.size, short_side), key_frames(len(clip.cameras)))
        return cls(clip.without_maps(), small)

    @classmethod
    def joined(cls, parts: Iterable[StoredClip], cameras: Cameras, short_side: int | None) -> VideoClip:
        """Like `of`, for a clip given in parts, each made only when needed. cameras: those of all frames."""
        keys, size, small = set(key_frames(len(cameras))), network_size(cameras.size, short_side), list[Clip]()

        def kept() -> Iterator[StoredClip]:
            first = 0
            for part in parts:
                wanted = [n for n in range(len(part.cameras)) if first + n in keys]
                if short_side is not None and wanted:
                    small.append(small_clip(part, size, wanted))
                first += len(part.cameras)
                yield part.without_maps()

        clip = StoredClip.joined(kept(), cameras)
        return cls(clip, Clip.joined(small) if small else None)


@dataclass(frozen=True, eq=False)
class VideoFrames:
    """The frames of a video, each of which is made when it is encoded.

    clip: frames without coverage and depth.  repair: what a student changed, or None without a student.
    """

    clip: StoredClip
    repair: Repair | None

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, 3, h, w)."""
        return tuple(self._shown.frames.shape)

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.clip.fps

    @property
    def leap(self) -> int | None:
        """The leap step of the student."""
        return None if self.repair is None else self.repair.leap

    def __iter__(self) -> Iterator[Tensor]:
        """Every frame, [3, h, w], uint8."""
        frames = self._shown.frames
        return iter(frames) if self.repair is None else repaired_frames(frames, self.repair)

    @property
    def _shown(self) -> StoredClip:
        """The part of the frames that the student repaired."""
        return self.clip if self.repair is None else middle(self.clip, self.repair.cameras)


def frames_in_memory(video: VideoFrames) -> Tensor:
    """All frames at once, [T, 3, h, w], uint8."""
    return torch.stack(list(video))
