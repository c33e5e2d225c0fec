"""The command `actiontubes benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from ..datasets.options import at_least, greater_than
from ..detect.model.config import HeadKind


def benchmark(
    what: Literal["backbones", "detector", "evaluation"],
    *,
    backbones: list[str] | None = None,
    endpoint: str = "Mixed_4e",
    head: HeadKind = "mean",
    frames: Annotated[int, at_least(1)] = 20,
    height: Annotated[int, at_least(1)] = 320,
    width: Annotated[int, at_least(1)] = 400,
    threads: Annotated[int, at_least(1)] = 2,
    repeats: Annotated[int, at_least(1)] = 7,
    device: Literal["cpu", "cuda"] = "cpu",
    train: bool = False,
    size: Annotated[float, greater_than(0)] = 1.0,
    json: Path | None = None,
) -> None:
    """Measure the speed of the backbones, the detector or the evaluation on this machine.

    backbones: a forward pass of each network, compared with torchvision's S3D, measured in the same
    run. detector: every frame of a video from a shared feature map, compared with a separate clip
    for each frame, and a training step compared with one that uses torchvision's layers; on a GPU
    also in bfloat16 and compiled. evaluation: reading, linking and scoring synthetic detections of
    UCF101-24's size, compared with a plain loop on the same data.

    Args:
        what: backbones, detector or evaluation.
        backbones: Networks to time. Default: s3d, s3d-g and i3d; the detector uses the first
            (default s3d-g).
        endpoint: Run the networks up to this layer.
        head: The detector's head: mean, light or mixed (see `train --head`).
        frames: Frames of the clip.
        height: Height of the clip in pixels.
        width: Width of the clip in pixels.
        threads: CPU threads that a network uses.
        repeats: Timed rounds, after one warm-up round.
        device: Where the networks run; on a GPU they run in bfloat16.
        train: Backbones only: time forward and backward passes (on a CPU in float32, and in
            bfloat16 if supported).
        size: Size of the synthetic detections; 1 is about 275,000 detections in 910 videos.
        json: Also write the numbers to this JSON file.
    """
    from ..datasets.errors import InputError
    from ..datasets.storage.files import write_json

    result: object
    if what == "evaluation":
        from ..detect.experiments import benchmark_evaluation

        result = benchmark_evaluation.benchmark_evaluation(size)
        table = benchmark_evaluation.benchmark_table(result)
    else:
        import torch

        from ..backbones.memory import keep_freed_memory

        if device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "--device cuda: PyTorch finds no GPU on this machine; use --device cpu"
            )
        torch.set_num_threads(threads)
        if what == "detector":
            from ..detect.experiments import benchmark_detector

            keep_freed_memory()
            batch, workers, steps = (8, 8, 40) if device == "cuda" else (1, 1, 6)
            workload = benchmark_detector.Workload(
                backbone=(backbones or ["s3d-g"])[0], endpoint=endpoint, head=head, frames=frames,
                height=height, width=width, batch=batch, repeats=repeats, device=device,
                workers=workers, steps=steps,
            )  # fmt: skip
            result = benchmark_detector.benchmark_detector(workload)
            table = benchmark_detector.benchmark_table(result)
        else:
            from ..detect.experiments import benchmark_backbones

            # The block size that glibc itself would come to, from the first pass on.
            keep_freed_memory(32 << 20)
            result = rows = benchmark_backbones.benchmark_backbones(
                backbones or ["s3d", "s3d-g", "i3d"], last=endpoint, frames=frames, height=height,
                width=width, repeats=repeats, device=device, train=train,
            )  # fmt: skip
            print(f"1x3x{frames}x{height}x{width} to {endpoint}, {device}, {threads} threads, "
                  f"medians of {repeats} rounds")  # fmt: skip
            table = benchmark_backbones.benchmark_table(rows)
    print(table)
    if json is not None:
        write_json(result, json)
