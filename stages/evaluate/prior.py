"""Methods built on the trained prior, for the two-view protocol."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from stages.evaluate.baselines import Method
from stages.prior.network import MVSplat
from stages.prior.pose import near_far_from_cameras
from stages.prior.predict import predict
from stages.render import render
from stages.scene import Cameras, Clip, Views

MULTIPLE = 16  # what the network's sides must be multiples of


def render_prior(network: MVSplat) -> Method:
    """The prior's Gaussians, rendered: what `videoscene prior` and `render` make, with the true cameras."""

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        near_far = near_far_from_cameras(list(context.images), context.cameras)
        gaussians = predict(pad(context), near_far, network).gaussians
        return render(gaussians, cameras.to(gaussians.means))

    return method


def pad(views: Views) -> Views:
    """Views whose sides are multiples of 16, edges repeated to the right and below, so that the intrinsics stay as they are."""
    h, w = views.cameras.size
    bottom, right = -h % MULTIPLE, -w % MULTIPLE
    images = F.pad(views.images, (0, right, 0, bottom), mode="replicate")
    return Views(images, Cameras(views.cameras.c2w, views.cameras.K, (h + bottom, w + right)))
