"""How much memory a command needs on a CPU with the shipped weights, for `--dry-run`."""

from dataclasses import dataclass

# Bytes that each part of the work needs. They are fitted to peaks of the process, which were measured for views of
# 256 x 384 to 384 x 576 pixels, 13 to 49 frames, and pairs of photographs of 12 and 108 million pixels. They are right
# within a factor of 1.3.
PROGRAM_BYTES = 240e6  # torch and this program
PHOTOGRAPH_BYTES = 22.0  # for each pixel of a photograph as it is in the file, while it is read and resized
NETWORK_BYTES = 450e6  # the prior's network and the matcher
VIEW_BYTES = 1.8e3  # for each pixel of a view: the network's image features
COST_VOLUME_BYTES = 2.4e-3  # for each pair of pixels of a view: the attention and the cost volume
FRAME_BYTES = 64.0  # for each pixel of a clip
REFINED_BYTES = 140.0  # for each pixel of a clip that Gaussians are refined on
STUDENT_BYTES = 660.0  # for each pixel of a clip that the student repairs


@dataclass(frozen=True)
class Workload:
    """How much a command works on.

    photographs: number of pixels of all photographs that are read, as they are in the files.
    view: number of pixels of one view or frame.  frames: number of frames of the clip, 0 without a clip.
    predicts: whether the prior predicts Gaussians.  repairs: whether the student repairs the clip.
    refines: whether Gaussians are refined on the clip.
    """

    photographs: int
    view: int
    frames: int = 0
    predicts: bool = True
    repairs: bool = False
    refines: bool = False


def peak_memory(work: Workload) -> float:
    """Bytes at the peak of the process, which is that of its largest stage."""
    clip = work.view * work.frames
    prior = (
        NETWORK_BYTES + VIEW_BYTES * work.view + COST_VOLUME_BYTES * work.view**2 if work.predicts else PROGRAM_BYTES
    )
    frames = (STUDENT_BYTES if work.repairs else REFINED_BYTES if work.refines else FRAME_BYTES) * clip
    return max(PROGRAM_BYTES + PHOTOGRAPH_BYTES * work.photographs, prior + frames)
