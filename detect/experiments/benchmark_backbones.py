"""Times networks of the family against torchvision's S3D in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ...backbones.family import ENDPOINTS, get_variant
from ...backbones.inception import Trunk
from .timing import has_bfloat16, median, time_rounds

_REFERENCE = "torchvision s3d"
_BFLOAT16 = ", bfloat16"


def list_passes(names: Sequence[str], device: str, train: bool) -> list[str]:
    """The names of what `benchmark_backbones` runs in a round."""
    mixed = [f"{name}{_BFLOAT16}" for name in names] if train and has_bfloat16(device) else []
    return [_REFERENCE, *names, *mixed]


def benchmark_backbones(
    names: Sequence[str],
    *,
    last: str,
    frames: int,
    height: int,
    width: int,
    repeats: int,
    device: str,
    train: bool,
    on_run: Callable[[str], None],
) -> list[dict[str, object]]:
    """Times a forward pass in evaluation mode, or forward and backward passes in training mode.

    The first row is torchvision's S3D up to the same endpoint, run eagerly; our `s3d` has the same
    weights and must give the same output.

    Args:
        names: networks of the family.
        last: endpoint up to which is computed.
        frames, height, width: size of the input, one clip.
        repeats: timed rounds, after one that is not.
        device: "cpu", or "cuda" in bfloat16.
        train: time forward and backward with trainable norms, in float32; if the device multiplies
            in bfloat16, also each network of the family in mixed precision.
        on_run: called with each network's name before it runs.

    Returns:
        Rows with name, seconds (median), ratio (median over rounds of the time divided by
        torchvision's in the same round), clips_per_second, and difference (largest absolute
        difference of the output from torchvision's; None for other networks than `s3d`).
    """
    from torchvision.models.video import s3d

    from ...backbones.weights.convert import from_torchvision_s3d

    torch.manual_seed(0)
    original = s3d(weights=None).eval()
    networks: dict[str, nn.Module] = {_REFERENCE: original.features[: ENDPOINTS.index(last) + 1]}
    for name in names:
        networks[name] = Trunk(get_variant(name), last=last).eval()
        if name == "s3d":
            model = from_torchvision_s3d(original.state_dict(), (), get_variant(name))
            networks[name].load_state_dict(model.trunk.state_dict(), strict=False)
    dtype = torch.float32 if device == "cpu" or train else torch.bfloat16
    for network in networks.values():
        network.to(device).train(train)
    networks[_REFERENCE].to(dtype)
    clip = torch.rand(1, 3, frames, height, width).to(device, dtype)
    outputs: dict[str, Tensor] = {}

    def run(name: str) -> None:
        network = networks[name.removesuffix(_BFLOAT16)]
        outputs[name] = _run_pass(network, clip, train, mixed=name.endswith(_BFLOAT16))

    passes = {name: partial(run, name) for name in list_passes(names, device, train)}
    times = time_rounds(passes, repeats, device, on_run)
    rows: list[dict[str, object]] = []
    for name, seconds in times.items():
        difference = None
        if name == "s3d":
            difference = (outputs[name].float() - outputs[_REFERENCE].float()).abs().max().item()
        rows.append({
            "name": name,
            "seconds": median(seconds),
            "ratio": median(seconds / times[_REFERENCE]),
            "clips_per_second": 1 / median(seconds),
            "difference": difference,
        })  # fmt: skip
    return rows


def _run_pass(network: nn.Module, clip: Tensor, train: bool, mixed: bool) -> Tensor:
    if not train:
        with torch.inference_mode():
            return network(clip)
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=mixed):
        output = network(clip)
    output.float().square().mean().backward()
    network.zero_grad()
    return output.detach()
