"""A trunk on optical flow: normalization of its input, and first weights from an RGB trunk."""

from __future__ import annotations

from dataclasses import replace

from ..datasets.errors import InputError
from ..datasets.flow.estimate import FLOW_SCALE, FLOW_ZERO
from .classifier import PretrainedModel
from .inception import Trunk

FLOW_MEAN = (FLOW_ZERO / 255, FLOW_ZERO / 255)
FLOW_STD = (FLOW_SCALE / 255, FLOW_SCALE / 255)
"""Arguments of `classifier.normalize` for x and y: -20 to 20 pixels a frame become -1 to 1, and 0
is exactly 0 (the paper's input; kinetics-i3d README)."""
_STEM = "Conv2d_1a_7x7.0.conv.weight"


def rgb_weights_to_flow(model: PretrainedModel) -> PretrainedModel:
    """First weights on flow from weights on RGB, without a head.

    The first kernel becomes its mean over the input channels, once for x and once for y: TSN's
    cross-modality pretraining (Wang et al. 2016, section 3.2). The mean is multiplied by 3 / 2, so
    that an input that is the same in all channels gives the same response as before.

    Args:
        model: a network of the family on RGB.

    Raises:
        InputError: another network.
    """
    rgb = model.trunk
    if not isinstance(rgb, Trunk):
        raise InputError(
            f"--streams: optical flow only works with the S3D family; with {rgb.name} use rgb"
        )
    trunk = Trunk(rgb.variant, rgb.width_multiplier, rgb.last, channels_in=len(FLOW_MEAN))
    state = rgb.state_dict()
    kernel = state[_STEM]
    state[_STEM] = (kernel.sum(1, keepdim=True) / len(FLOW_MEAN)).repeat(1, len(FLOW_MEAN), 1, 1, 1)
    trunk.load_state_dict(state)
    return replace(model, trunk=trunk.eval(), head=None, labels=(), mean=FLOW_MEAN, std=FLOW_STD)
