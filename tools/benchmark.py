"""The command `actiontubes benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from ..datasets.options import at_least, greater_than


def benchmark(
    what: Literal["backbones", "detector", "evaluation"],
    *,
    backbones: list[str] | None = None,
    endpoint: str = "Mixed_4e",
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
    from ..datasets.files import write_json

    if what == "evaluation":
        from ..detect.experiments.benchmark_evaluation import benchmark_evaluation, benchmark_table

        result = benchmark_evaluation(size)
        print(benchmark_table(result))
        if json is not None:
            write_json(result, json)
        return
    import torch
    from tqdm import tqdm

    from ..backbones.memory import keep_freed_memory
    from ..detect.experiments.benchmark_backbones import benchmark_backbones, list_passes

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU on this machine; use --device cpu")
    torch.set_num_threads(threads)
    bar = tqdm(unit=" runs", leave=False)

    def on_run(name: str) -> None:
        bar.set_description(name)
        bar.update()

    if what == "detector":
        from ..detect.experiments.benchmark_detector import (
            Workload,
            benchmark_detector,
            benchmark_table,
            count_runs,
        )

        keep_freed_memory()
        batch, workers, steps = (8, 8, 40) if device == "cuda" else (1, 1, 6)
        workload = Workload(
            backbone=(backbones or ["s3d-g"])[0], endpoint=endpoint, frames=frames, height=height,
            width=width, batch=batch, repeats=repeats, device=device, workers=workers, steps=steps,
        )  # fmt: skip
        bar.reset(count_runs(workload))
        with bar:
            figures = benchmark_detector(workload, on_run)
        print(benchmark_table(figures))
        if json is not None:
            write_json(figures, json)
        return
    names = backbones or ["s3d", "s3d-g", "i3d"]
    # The block size that glibc itself would come to, from the first pass on.
    keep_freed_memory(32 << 20)
    bar.reset((repeats + 1) * len(list_passes(names, device, train)))
    with bar:
        rows = benchmark_backbones(
            names, last=endpoint, frames=frames, height=height, width=width, repeats=repeats,
            device=device, train=train, on_run=on_run,
        )  # fmt: skip
    print(f"1x3x{frames}x{height}x{width} to {endpoint}, {device}, {threads} threads, medians of "
          f"{repeats} rounds")  # fmt: skip
    print(f"{'network':18}{'seconds':>9}{'of torchvision':>16}{'clips/s':>9}{'difference':>12}")
    for row in rows:
        difference = "-" if row["difference"] is None else f"{row['difference']:.1e}"
        print(f"{row['name']:18}{row['seconds']:9.3f}{row['ratio']:16.3f}"
              f"{row['clips_per_second']:9.2f}{difference:>12}")  # fmt: skip
    if json is not None:
        write_json(rows, json)
