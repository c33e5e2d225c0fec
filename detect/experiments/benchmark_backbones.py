"""Times networks of the family against torchvision's S3D in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from ...backbones.family import ENDPOINTS, get_variant
from ...backbones.inception import Trunk

_MIXED = ", bfloat16"


def has_bfloat16(device: str) -> bool:
    """Whether the device multiplies in bfloat16; elsewhere that is slower than float32."""
    return device == "cuda" or torch.cpu._is_avx512_bf16_supported()


def now(device: str) -> float:
    """Seconds of a clock, read when all that a GPU was given is done."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed_rounds(
    runs: Mapping[str, Callable[[], object]],
    repeats: int,
    device: str,
    progress: Callable[[str], None] = lambda name: None,
    untimed: int = 1,
) -> dict[str, list[float]]:
    """Seconds of each run in each round, after `untimed` rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(untimed + repeats):
        for name, run in runs.items():
            progress(name)
            begin = now(device)
            run()
            seconds[name].append(now(device) - begin)
    return {name: each[untimed:] for name, each in seconds.items()}


def passes_of(names: Sequence[str], device: str, train: bool) -> list[str]:
    """What `benchmark_backbones` runs in a round, by name."""
    mixed = [f"{name}{_MIXED}" for name in names] if train and has_bfloat16(device) else []
    return ["torchvision s3d", *names, *mixed]


def _pass(network: nn.Module, clip: Tensor, train: bool, mixed: bool) -> Tensor:
    if not train:
        with torch.inference_mode():
            return network(clip)
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=mixed):
        output = network(clip)
    output.float().square().mean().backward()
    network.zero_grad()
    return output.detach()


def benchmark_backbones(
    names: Sequence[str],
    *,
    last: str = "Mixed_4e",
    clips: int = 1,
    frames: int = 20,
    height: int = 320,
    width: int = 400,
    repeats: int = 7,
    device: str = "cpu",
    train: bool = False,
    progress: Callable[[str], None] = lambda name: None,
) -> list[dict[str, object]]:
    """Seconds of a forward pass in evaluation mode, or of one forward and back in training.

    Round by round, so that all meet the same load.

    The first row is torchvision's S3D to the same endpoint as it comes, run eagerly; `s3d` has the
    same weights and must give the same output.

    Args:
        names: networks of the family.
        last: endpoint up to which is computed.
        clips, frames, height, width: size of the input.
        repeats: rounds that are timed, after one that is not.
        device: where; on a GPU in bfloat16.
        train: time forward and backward with norms that are trained, in float32, and where the
            device multiplies in bfloat16 each network of the family in mixed precision too.
        progress: called with each network's name before it runs.

    Returns:
        Rows with name, seconds (median), ratio (median over rounds of the time divided by
        torchvision's in the same round), clips_per_second, and difference (largest absolute
        difference of the output from torchvision's; None where another function is computed).
    """
    from torchvision.models.video import s3d

    from ...backbones.weights.convert import from_torchvision_s3d

    torch.manual_seed(0)
    original = s3d(weights=None).eval()
    networks: dict[str, nn.Module] = {
        "torchvision s3d": original.features[: ENDPOINTS.index(last) + 1]
    }
    for name in names:
        networks[name] = Trunk(get_variant(name), last=last).eval()
        if name == "s3d":
            model = from_torchvision_s3d(original.state_dict(), (), get_variant(name))
            networks[name].load_state_dict(model.trunk.state_dict(), strict=False)
    dtype = torch.float32 if device == "cpu" or train else torch.bfloat16
    for name, network in networks.items():
        network.to(device).train(train)
        if name.startswith("torchvision"):
            network.to(dtype)
    clip = torch.rand(clips, 3, frames, height, width).to(device, dtype)
    outputs: dict[str, Tensor] = {}

    def run(name: str) -> None:
        network = networks[name.removesuffix(_MIXED)]
        outputs[name] = _pass(network, clip, train, name.endswith(_MIXED))

    passes = {name: partial(run, name) for name in passes_of(names, device, train)}
    times = timed_rounds(passes, repeats, device, progress)
    base = times["torchvision s3d"]
    rows: list[dict[str, object]] = []
    for name, rounds in times.items():
        difference = None
        if name == "s3d":
            gap = outputs[name].float() - outputs["torchvision s3d"].float()
            difference = gap.abs().max().item()
        rows.append({
            "name": name,
            "seconds": median(rounds),
            "ratio": median(a / b for a, b in zip(rounds, base)),
            "clips_per_second": clips / median(rounds),
            "difference": difference,
        })  # fmt: skip
    return rows
