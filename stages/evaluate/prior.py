"""Methods built on the trained prior, for the two-view protocol."""

from __future__ import annotations

from torch import Tensor

from stages.evaluate.baselines import Method
from stages.prior.network import MVSplat
from stages.prior.pose import near_far_from_cameras
from stages.prior.predict import predict
from stages.render import render
from stages.scene import Cameras, Clip, Views


def render_prior(network: MVSplat) -> Method:
    """The prior's Gaussians, rendered: what `videoscene prior` and `render` make, with the true cameras."""

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        near_far = near_far_from_cameras(list(context.images), context.cameras)
        gaussians = predict(context, near_far, network).gaussians
        return render(gaussians, cameras.to(gaussians.means))

    return method

