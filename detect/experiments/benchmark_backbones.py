"""Times networks of the family against torchvision's S3D in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...backbones.family import ENDPOINTS, get_variant
from ...backbones.inception import Trunk
from ..inference.device import has_native_bfloat16
from .timing import median, time_rounds

_REFERENCE = "torchvision s3d"


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
) -> list[dict[str, Any]]:
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
    passes = {name: partial(_run_pass, each, clip, train) for name, each in networks.items()}
    if train and has_native_bfloat16(device):
        for name in names:
            mixed = partial(_run_pass, networks[name], clip, train, mixed=True)
            passes[f"{name}, bfloat16"] = mixed
    times = time_rounds(passes, repeats, device)
    differences = {}
    if "s3d" in names:
        ours, theirs = (passes[name]().float() for name in ("s3d", _REFERENCE))
        differences["s3d"] = (ours - theirs).abs().max().item()
    return [
        {
            "name": name,
            "seconds": median(seconds),
            "ratio": median(seconds / times[_REFERENCE]),
            "clips_per_second": 1 / median(seconds),
            "difference": differences.get(name),
        }
        for name, seconds in times.items()
    ]


def benchmark_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The result of `benchmark_backbones` as text."""
    head = f"{'network':18}{'seconds':>9}{'of torchvision':>16}{'clips/s':>9}{'difference':>12}"
    lines = [head]
    for row in rows:
        difference = "-" if row["difference"] is None else f"{row['difference']:.1e}"
        lines.append(f"{row['name']:18}{row['seconds']:9.3f}{row['ratio']:16.3f}"
                     f"{row['clips_per_second']:9.2f}{difference:>12}")  # fmt: skip
    return "\n".join(lines)


def _run_pass(network: nn.Module, clip: Tensor, train: bool, mixed: bool = False) -> Tensor:
    if not train:
        with torch.inference_mode():
            return network(clip)
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=mixed):
        output = network(clip)
    output.float().square().mean().backward()
    network.zero_grad()
    return output.detach()
