"""How much memory a command needs on a CPU with the shipped weights, for `--dry-run`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.sizes import MOST_FRAMES, MOST_PIXELS

# Bytes that each part of the work needs. They are fitted to peaks of the process, which were measured for 9 to 145
# frames of 256 x 384 to 3024 x 4032 pixels, and pairs of photographs of up to 108 million pixels. They are right within
# a factor of 1.3.
PROGRAM_BYTES = 240e6  # torch and this program
PHOTOGRAPH_BYTES = 22.0  # for each pixel of a photograph as it is in the file, while it is read and resized
NETWORK_BYTES = 450e6  # torch, this program, the prior's network and the matcher
VIEW_BYTES = 1.8e3  # for each pixel of a view: the network's image features
COST_VOLUME_BYTES = 2.4e-3  # for each pair of pixels of a view: the attention and the cost volume
STORED_BYTES = 8.0  # for each pixel of a clip in the size of the result, as it is stored and written
VIDEO_BYTES = 3.0  # for each pixel of a clip that becomes a video file, of which only the frames are kept
RESULT_BYTES = 300.0  # for each pixel of the result, while a few frames are rendered
REFINED_BYTES = 20.0  # for each pixel of the pictures that Gaussians are refined on
CLOUD_BYTES = 2e3  # for each pixel of one such picture: the Gaussians, their gradients and Adam's moments
STUDENT_BYTES = 200.0  # for each pixel of a clip in the networks' size that the student repairs


@dataclass(frozen=True)
class Workload:
    """How much a command works on.

    photographs: number of pixels of all photographs that are read, as they are in the files.
    view: number of pixels of one image of the networks.  frames: number of frames of the clip, 0 without a clip.
    result: number of pixels of one frame of the result; None for as many as `view`.
    predicts: whether the prior predicts Gaussians.  repairs: whether the student `small` repairs the clip.
    refines: whether Gaussians are refined on the clip.  video: whether the clip becomes a video file.
    sizes: sizes (h, w) of its images by name, for the reader of the plan.
    """

    photographs: int
    view: int
    frames: int = 0
    result: int | None = None
    predicts: bool = True
    repairs: bool = False
    refines: bool = False
    video: bool = False
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def peak_memory(work: Workload) -> float:
    """Bytes at the peak of the process.

    The peak comes either while the photographs are read, or later. The later peak is the sum of all other parts.
    """
    result = work.result or work.view
    prior = (
        NETWORK_BYTES + VIEW_BYTES * work.view + COST_VOLUME_BYTES * work.view**2 if work.predicts else PROGRAM_BYTES
    )
    frames = (VIDEO_BYTES if work.video else STORED_BYTES) * result * work.frames
    if work.repairs:
        frames += STUDENT_BYTES * work.view * min(work.frames, MOST_FRAMES)
    if work.refines:
        frames += (REFINED_BYTES * work.frames + CLOUD_BYTES) * min(result, MOST_PIXELS)
    frames += RESULT_BYTES * result if work.frames else 0
    return max(PROGRAM_BYTES + PHOTOGRAPH_BYTES * work.photographs, prior + frames)
