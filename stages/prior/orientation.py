"""Refuses two photographs of which one is mirrored or turned against the other.

A photograph is turned where its EXIF, which says what is up, was lost or is wrong.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stages.errors import RunError
from stages.prior.matching import match

MANY_MATCHES = 50  # more matches than this after a flip or a turn are no coincidence
# A flip or a turn is believed if it multiplies the number of matches by more than this. The factor of a flip is larger,
# because a flip is also tried for pairs that match well as they are.
GAIN_MIRRORED, GAIN_TURNED = 1.5, 1.25
QUARTER_TURNS = ("90 degrees to the left", "180 degrees", "90 degrees to the right")


def refuse_mirrored(images: Sequence[Tensor], matches: int) -> None:
    """Raise RunError when the second photograph has many more matches when mirrored.

    images: two of [3, h, w].  matches: the number of their matches as they are.
    """
    mirrored = len(match(images[0], images[1].flip(-1)))
    if mirrored > max(MANY_MATCHES, GAIN_MIRRORED * matches):
        raise RunError(
            "one of the two photographs is mirrored",
            f"there are {matches} matches as they are, and {mirrored} when the second one is flipped left to right",
            "flip one photograph; front cameras of phones often save mirrored pictures",
        )


def refuse_turned(images: Sequence[Tensor], matches: int) -> None:
    """Raise RunError when the second photograph has more matches after a turn by 90, 180 or 270 degrees.

    images: two of [3, h, w].  matches: the number of their matches as they are.
    """
    turned = [len(match(images[0], torch.rot90(images[1], turns, (1, 2)))) for turns in (1, 2, 3)]
    most = max(turned)
    if most > max(MANY_MATCHES, GAIN_TURNED * matches):
        turn = QUARTER_TURNS[turned.index(most)]
        raise RunError(
            "one of the two photographs is turned against the other",
            f"there are {matches} matches as they are, and {most} when the second one is turned by {turn}",
            f"turn the second photograph by {turn}, or the first one the other way",
        )
