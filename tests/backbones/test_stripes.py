"""The first layers computed in stripes give the same features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from actiontubes.backbones import stripes
from actiontubes.backbones.family import HOWTO100M_LAYOUT, VARIANTS
from actiontubes.backbones.inception import Trunk


@pytest.mark.parametrize(
    "variant",
    [VARIANTS["i3d"], VARIANTS["s3d"], VARIANTS["s3d-g"],
     replace(VARIANTS["s3d-g"], layout=HOWTO100M_LAYOUT)],
    ids=["i3d", "s3d", "s3d-g", "howto100m"],
)  # fmt: skip
@pytest.mark.parametrize("size", [(6, 96, 64), (5, 77, 51), (4, 25, 200)])
def test_stripes_change_nothing(
    variant: object, size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    trunk = Trunk(variant, width_multiplier=0.25, last="Mixed_3b").eval()  # type: ignore[arg-type]
    clip = torch.randn(2, 3, *size)
    with torch.inference_mode():
        whole = trunk(clip)
        monkeypatch.setattr(stripes, "_MIN_INPUT_SIZE", 0)
        monkeypatch.setattr(stripes, "_STRIPE_ROWS", 3)
        assert stripes.should_use_stripes(clip)
        striped = trunk(clip)
    assert whole.abs().max() > 0
    torch.testing.assert_close(striped, whole, rtol=1e-4, atol=1e-6)


def test_no_stripes_with_gradients_or_in_training() -> None:
    clip = torch.zeros(1, 3, 16, 224, 224)
    assert not stripes.should_use_stripes(clip)
    with torch.inference_mode():
        assert stripes.should_use_stripes(clip)
