"""The command `actiontubes benchmark`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Literal

from ..datasets.errors import InputError
from ..datasets.options import at_least, greater_than
from ..detect.model.config import HeadKind


def benchmark(
    what: Literal["backbones", "detector", "evaluation", "linking", "proposals"],
    *,
    backbones: list[str] | None = None,
    endpoint: str = "Mixed_4e",
    head: HeadKind = "light",
    frames: Annotated[int, at_least(1)] = 20,
    height: Annotated[int, at_least(1)] = 320,
    width: Annotated[int, at_least(1)] = 400,
    threads: Annotated[int, at_least(1)] = 2,
    repeats: Annotated[int, at_least(1)] = 7,
    device: Literal["cpu", "cuda"] = "cpu",
    train: bool = False,
    onnx: bool = False,
    size: Annotated[float, greater_than(0)] = 1.0,
    data: Path | None = None,
    detections: Path | None = None,
    media: Path | None = None,
    videos: list[str] | None = None,
    proposal_count: Annotated[int, at_least(1)] = 30,
    checkpoint: Path | None = None,
    proposals: str | None = None,
    json: Path | None = None,
) -> None:
    """Measure the speed of the backbones, detector, evaluation, linking or proposals.

    backbones: a forward pass of each network, compared with torchvision's S3D, measured in the same
    run. detector: every frame of a video from a shared feature map, compared with a separate clip
    for each frame, in float32 and in the precision that auto takes, and a training step compared
    with one that uses torchvision's layers; on a GPU also in bfloat16 and compiled. evaluation:
    reading, linking and scoring synthetic detections of UCF101-24's size, compared with a plain
    loop on the same data. linking: the tubes that each linker makes of --detections, and what
    halving and doubling the numbers of `link --method persons` changes. proposals: how many of the
    ground truth boxes are found, and how fast, with --proposal-step 1 to 16 and, with --checkpoint,
    10 to 100 proposals.

    Args:
        what: backbones, detector, evaluation, linking or proposals.
        backbones: Networks to time. Default: s3d, s3d-g and i3d; the detector uses the first
            (default s3d-g).
        endpoint: Run the networks up to this layer.
        head: The detector's head: mean (the paper's), light or mixed (see `train --head`).
        frames: Frames of the clip.
        height: Height of the clip in pixels.
        width: Width of the clip in pixels.
        threads: CPU threads that a network uses.
        repeats: Timed rounds, after one warm-up round.
        device: Where the networks run; on a GPU they run in bfloat16.
        train: Backbones only: time forward and backward passes (on a CPU in float32, and in
            bfloat16 if supported).
        onnx: Detector only, on a CPU: also export the detector to ONNX and time onnxruntime.
        size: Size of the synthetic detections; 1 is about 275,000 detections in 910 videos.
        proposal_count: Detector only: boxes that its own proposal network finds in each frame.
        data: Proposals: ground truth, as in `actiontubes train`. Linking: as in `evaluate`.
        detections: Linking only: detections, as in `actiontubes link`.
        media: Proposals only: folder of the videos, if not beside the ground truth.
        videos: Proposals: names of the videos, or a list file. Default: the test videos. Linking: a
            list file; default: all of --data.
        checkpoint: A trained detector. Proposals: one that finds people itself. Linking: whose
            calibration is to be used, too.
        proposals: Proposals only: a source of person boxes, as in `actiontubes detect`.
        json: Also write the numbers to this JSON file.
    """
    from ..datasets.storage.files import write_json

    result: object
    if what == "linking":
        result, table = _benchmark_linking(data, detections, checkpoint, videos)
    elif what == "evaluation":
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
                workers=workers, steps=steps, proposals=proposal_count, onnx=onnx,
            )  # fmt: skip
            result = benchmark_detector.benchmark_detector(workload)
            table = benchmark_detector.benchmark_table(result)
        elif what == "proposals":
            result, table = _benchmark_proposals(data, media, videos, checkpoint, proposals, device)
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


def _benchmark_linking(
    data: Path | None,
    detections: Path | None,
    checkpoint: Path | None,
    videos: list[str] | None,
) -> tuple[object, str]:
    """The figures of the command with "linking", and their tables."""
    from ..detect.evaluation.align import read_aligned
    from ..detect.experiments import benchmark_linking
    from ..detect.inference.load import load_calibration

    if data is None or detections is None:
        raise InputError("benchmark linking: needs --data and --detections; give these")
    if videos is not None and len(videos) != 1:
        raise InputError("benchmark linking: --videos is a list file, one video a line")
    aligned = read_aligned(data, detections, videos=None if videos is None else videos[0])
    truth, boxes = aligned.ground_truth, aligned.detections
    assert boxes is not None
    calibration = None if checkpoint is None else load_calibration(checkpoint)
    methods = benchmark_linking.compare_linkers(truth, boxes, calibration)
    numbers = benchmark_linking.halve_and_double(truth, boxes, calibration)
    tables = benchmark_linking.linkers_table(methods), benchmark_linking.spread_table(numbers)
    return {"methods": methods, "numbers": numbers}, "\n\n".join(tables)


def _benchmark_proposals(
    data: Path | None,
    media: Path | None,
    videos: list[str] | None,
    checkpoint: Path | None,
    proposals: str | None,
    device: str,
) -> tuple[object, str]:
    """The figures of the command with "proposals", and their table."""
    from ..backbones.fold_norms import fold_norms
    from ..backbones.memory import keep_freed_memory
    from ..datasets.clips.detection_set import open_detection_sets
    from ..detect.experiments import benchmark_proposals
    from ..detect.inference.predictor import TorchPredictor
    from ..detect.model.checkpoint import load_detector
    from ..detect.people.proposals import open_proposal_source

    if data is None or (checkpoint is None) == (proposals is None):
        raise InputError(
            "benchmark proposals: needs --data, and either --checkpoint or --proposals; give these"
        )
    keep_freed_memory()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "--train-videos and --test-videos are the same")
        _, test_set = open_detection_sets(
            data, media=media, train_videos=videos, test_videos=videos
        )
    if checkpoint is not None:
        detector = fold_norms(load_detector(checkpoint).to(device))
        predictor = TorchPredictor(detector, device=device)
        rows = benchmark_proposals.benchmark_rpn(test_set, predictor)
    else:
        source = open_proposal_source(proposals or "default", device=device)
        rows = benchmark_proposals.benchmark_source(test_set, source)
    return rows, benchmark_proposals.benchmark_table(rows)
