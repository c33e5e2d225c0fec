"""Times the detector on this machine: on every frame of a video, and in training.

All variants run in alternating rounds of one process, so that all see the same load.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.video import s3d

from ...backbones.cost import count_multiply_adds
from ...backbones.family import ENDPOINTS, get_variant
from ...backbones.registry import Backbone
from ...backbones.weights.convert import from_torchvision_s3d
from ...datasets.box_coordinates import rescale_boxes
from ...datasets.clips.detection_clips import DetectionClips
from ...datasets.clips.detection_set import DetectionSet, open_detection_sets
from ...datasets.clips.options import Augmentation, ClipConfig
from ...datasets.figures.dataset import make_figure_dataset
from ...datasets.figures.motion import LABELS
from ...datasets.tables import Detections
from ..inference.clip_batches import ClipBatch, iter_clip_batches
from ..inference.clip_geometry import KEY_FRAMES_PER_CLIP, ClipGeometry, Mode
from ..inference.device import has_native_bfloat16
from ..inference.predictor import TorchPredictor, postprocess
from ..model.build import build_detector
from ..model.config import DetectorConfig, HeadKind, ProposalKind
from ..model.detector import Detector
from ..people.person_boxes import FunctionSource
from ..training.detector import DetectionTask
from ..training.loop import fit, make_optimizer
from ..training.options import RunOptions, Schedule
from ..training.state import LOSSES
from .benchmark_runtimes import benchmark_runtimes, runtimes_table
from .benchmark_videos import benchmark_videos, proposal_variants, videos_table
from .detector_cost import head_cost_table, head_costs
from .timing import median, time_rounds

# Three people a frame: x1 y1 x2 y2 as fractions of the frame.
_PERSON_BOXES = np.array([[0.1, 0.3, 0.3, 0.9], [0.4, 0.2, 0.6, 0.95], [0.65, 0.4, 0.8, 0.8]])
_PROPOSAL_KINDS: tuple[ProposalKind, ...] = ("external", "features", "resnet50")
_SCHEDULE = Schedule(steps=1, lr=1e-4)
_VIDEO_ROUNDS = 3
_WARMUP_STEPS = 4  # of the short training run, in which its worker processes start
_TENSOR_PEAK = 989e12
"""Dense bf16 FLOP/s of an H100 SXM and an H200, by NVIDIA's data sheets."""


@dataclass(frozen=True)
class Workload:
    """What is timed.

    Attributes:
        backbone, endpoint: see `DetectorConfig`; training is timed on S3D, torchvision's network.
        frames, height, width: of the clip around a key frame.
        batch: clips of a training step.
        repeats: timed rounds.
        device: "cpu" or "cuda"; bfloat16 is also timed if it is native, compilation on a GPU.
        workers: processes that read clips in the short training run.
        steps: of that run, after four that are not counted.
        head: see `DetectorConfig`.
        hidden: width of the action head's layers.
        proposals: that an RPN makes on each key frame.
        onnx: also time onnxruntime, on a CPU.
    """

    backbone: str = "s3d-g"
    endpoint: str = "Mixed_4e"
    frames: int = 20
    height: int = 320
    width: int = 400
    batch: int = 1
    repeats: int = 7
    device: str = "cpu"
    workers: int = 1
    steps: int = 6
    head: HeadKind = "light"
    hidden: int = 1024
    proposals: int = 30
    onnx: bool = False

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype of inference: bfloat16 on a GPU."""
        return torch.bfloat16 if self.device == "cuda" else None

    @property
    def warmup(self) -> int:
        """Rounds that are not timed."""
        return 1 if self.device == "cpu" else 3

    def config(self, backbone: str, proposals: ProposalKind) -> DetectorConfig:
        return DetectorConfig(
            labels=LABELS, backbone=backbone, endpoint=self.endpoint, proposals=proposals,
            proposal_endpoint=self.endpoint, proposal_count=self.proposals, head=self.head,
            hidden=self.hidden, frames=self.frames, size=(self.height, self.width), norm="batch",
        )  # fmt: skip


class TorchvisionTrunk(nn.Module):
    """torchvision's S3D layers, unchanged, in place of a `Trunk`.

    Args:
        layers: of torchvision's `S3D.features`, from the first one on.
        trunk: the trunk that they replace.
    """

    def __init__(self, layers: nn.Sequential, trunk: Backbone) -> None:
        super().__init__()
        self.layers = layers
        self.endpoint_shapes, self.grid = trunk.endpoint_shapes, trunk.grid

    def endpoints(self, clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        x, features = clips, {}
        for name, layer in zip(ENDPOINTS, self.layers):
            x = layer(x)
            if name in names:
                features[name] = x
        return features


def benchmark_detector(workload: Workload) -> dict[str, Any]:
    """All figures of the detector.

    Args:
        workload: what is timed.

    Returns:
        The workload, device, threads and torch's version; "multiply_adds" of `head_costs`, with an
        RPN on the trunk's features; "dense" of `benchmark_dense` and `benchmark_videos`; "train" of
        `benchmark_training` and `measure_data_wait`.
    """
    dense = benchmark_dense(workload)
    training = benchmark_training(workload)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "figures"
        make_figure_dataset(data, train=4, test=1, height=240, width=320, progress=False)
        train_set, test_set = open_detection_sets(data)
        predictors = {
            kind: TorchPredictor(
                _make_detector(workload, kind), device=workload.device,
                autocast_dtype=workload.autocast_dtype,
            )
            for kind in _PROPOSAL_KINDS
        }  # fmt: skip
        dense |= benchmark_videos(
            proposal_variants(predictors),
            test_set.media[0],
            FunctionSource(lambda frames, _: [_person_boxes(*frames.shape[1:3])] * len(frames)),
            min(workload.repeats, _VIDEO_ROUNDS),
        )
        training |= measure_data_wait(workload, train_set, Path(folder) / "run")
    return {
        "workload": asdict(workload),
        "device": torch.cuda.get_device_name() if workload.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "multiply_adds": head_costs(workload.config(workload.backbone, "features")),
        "dense": dense,
        "train": training,
    }


def benchmark_dense(workload: Workload) -> dict[str, Any]:
    """Key frames a second if every frame is one: shared clips compared with a clip for each.

    The time of prediction and NMS with the same weights, three external person boxes a frame, and
    frames of the trunk's size in memory; in bfloat16 on a GPU.

    Returns:
        shared_fps, per_clip_fps (medians) and their ratio (median over rounds); on a GPU
        tensor_peak_share of the shared mode, on a CPU "runtimes" of `benchmark_runtimes`.
    """
    device, dtype = workload.device, workload.autocast_dtype
    detector = _make_detector(workload, "external")
    shared, per_clip = (_make_batch(workload, mode) for mode in ("shared", "per_clip"))
    variants = {"shared": (shared, dtype), "per_clip": (per_clip, dtype)}

    def predict(batch: ClipBatch, dtype: torch.dtype | None) -> Detections:
        predictor = TorchPredictor(detector, device=device, autocast_dtype=dtype)
        return postprocess(predictor.predict(batch), predictor.config)

    runs = {name: partial(predict, *variant) for name, variant in variants.items()}
    seconds = time_rounds(runs, workload.repeats, device, workload.warmup)
    fps = {name: len(variants[name][0].frame_numbers) / each for name, each in seconds.items()}
    result: dict[str, Any] = {f"{name}_fps": median(rounds) for name, rounds in fps.items()}
    result["ratio"] = median(fps["shared"] / fps["per_clip"])
    if device == "cuda":
        flops = count_flops(runs["shared"])
        result["tensor_peak_share"] = _peak_share(flops, median(seconds["shared"]))
    else:
        result["runtimes"] = benchmark_runtimes(
            detector, shared, onnx=workload.onnx, repeats=workload.repeats
        )
    return result


def benchmark_training(workload: Workload) -> dict[str, Any]:
    """A training step of the detector compared with one whose trunk is torchvision's S3D.

    Both have the same weights, an RPN on the trunk's features and trainable norms, and compute the
    same function: forward, backward, gradient clipping, SGD with momentum.

    Returns:
        clips_per_second, torchvision_clips_per_second and ratio in float32; loss_difference
        (relative, of the first step); and "runs": for each kind of step seconds (median),
        clips_per_second and ratio to torchvision's; on a GPU also memory_bytes (the peak of a step
        beside weights and momenta) and, in bfloat16, tensor_peak_share.
    """
    torch.manual_seed(0)
    original = s3d(weights=None)
    ours, theirs = (build_detector(workload.config("s3d", "features")) for _ in range(2))
    converted = from_torchvision_s3d(original.state_dict(), (), get_variant("s3d"))
    ours.trunk.load_state_dict(converted.trunk.state_dict(), strict=False)
    theirs.load_state_dict(ours.state_dict())
    layers = original.features[: ENDPOINTS.index(workload.endpoint) + 1]
    theirs.trunk = TorchvisionTrunk(layers, theirs.trunk)  # type: ignore[assignment]
    steps = {"ours": _TrainingStep(ours, workload), "torchvision": _TrainingStep(theirs, workload)}
    if has_native_bfloat16(workload.device):
        steps["ours, bfloat16"] = _TrainingStep(ours, workload, bfloat16=True)
    on_gpu = workload.device == "cuda"
    if on_gpu:
        compiled = copy.deepcopy(ours)
        # The shapes of the rest depend on the data: proposals and samples.
        compiled.trunk.endpoints = torch.compile(compiled.trunk.endpoints)  # type: ignore[method-assign]
        steps["ours, bfloat16, compiled"] = _TrainingStep(compiled, workload, bfloat16=True)
    losses = [steps[name].loss().item() for name in ("ours", "torchvision")]
    seconds = time_rounds(steps, workload.repeats, workload.device, workload.warmup)
    rows: dict[str, dict[str, Any]] = {}
    for name, step in steps.items():
        rows[name] = {
            "seconds": median(seconds[name]),
            "clips_per_second": workload.batch / median(seconds[name]),
            "ratio": median(seconds["torchvision"] / seconds[name]),
        }
        if on_gpu:
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            step()
            rows[name]["memory_bytes"] = torch.cuda.max_memory_allocated() - before
    if on_gpu:
        # Operations of a compiled step cannot be counted, but are the same.
        flops = count_flops(steps["ours, bfloat16"])
        for name in ("ours, bfloat16", "ours, bfloat16, compiled"):
            rows[name]["tensor_peak_share"] = _peak_share(flops, rows[name]["seconds"])
    return {
        "clips_per_second": rows["ours"]["clips_per_second"],
        "torchvision_clips_per_second": rows["torchvision"]["clips_per_second"],
        "ratio": rows["ours"]["ratio"],
        "loss_difference": abs(losses[0] / losses[1] - 1),
        "runs": rows,
    }


def measure_data_wait(workload: Workload, train_set: DetectionSet, out: Path) -> dict[str, float]:
    """The share of its time that training waits for clips, in a short run.

    Clips are decoded from video files each time, with all augmentation; on a GPU in bfloat16.

    Returns:
        data_wait_share, run_seconds and run_clips_per_second, of the run's steps.
    """
    on_gpu = workload.device == "cuda"
    run = RunOptions(
        workers=workload.workers, precision="bf16" if on_gpu else "no",
        device="auto" if on_gpu else "cpu",
    )  # fmt: skip
    clips = DetectionClips(
        train_set, ClipConfig(frames=workload.frames, size=(workload.height, workload.width)),
        seed=0, augmentation=Augmentation(),
    )  # fmt: skip
    detector = build_detector(workload.config("s3d", "features"))
    schedule = replace(_SCHEDULE, steps=_WARMUP_STEPS + workload.steps, batch=workload.batch)
    fit(DetectionTask(detector), clips, out, schedule, run)
    rows = np.genfromtxt(out / LOSSES, delimiter=",", names=True)[_WARMUP_STEPS:]
    seconds, waited = (float(rows[name].sum()) for name in ("seconds", "waited"))
    return {
        "data_wait_share": waited / seconds,
        "run_seconds": seconds,
        "run_clips_per_second": workload.batch * len(rows) / seconds,
    }


def count_flops(run: Callable[[], object]) -> int:
    """Floating point operations of convolutions and matrix products, a multiply-add as two."""
    return 2 * count_multiply_adds(run)


def benchmark_table(result: dict[str, Any]) -> str:
    """The result of `benchmark_detector` as text."""
    load, dense, training = result["workload"], result["dense"], result["train"]
    lines = [
        f"{load['frames']}x{load['height']}x{load['width']} to {load['endpoint']}, "
        f"{result['device']}, {result['threads']} threads, medians of {load['repeats']} rounds",
        f"every frame a key frame ({load['backbone']}, head {load['head']}): "
        f"{dense['shared_fps']:.1f} frames/s with shared clips, {dense['per_clip_fps']:.2f} with a "
        f"clip for each frame, {dense['ratio']:.1f} times as fast",
        "multiply-adds a key frame, 100 proposals:",
        head_cost_table(result["multiply_adds"]),
    ]
    if "runtimes" in dense:
        lines.append(runtimes_table(dense["runtimes"]))
    lines.append(f"from the video file to tables, {load['proposals']} own proposals a frame:")
    lines += videos_table(dense)
    lines.append(f"{'training step (s3d)':28}  seconds  clips/s  times    memory  peak")
    for name, row in training["runs"].items():
        memory = f"{row['memory_bytes'] / 2**20:.0f} MB" if "memory_bytes" in row else "-"
        peak = f"{row['tensor_peak_share']:.0%}" if row.get("tensor_peak_share") else "-"
        lines.append(f"{name:28}{row['seconds']:>9.3f}{row['clips_per_second']:>9.2f}"
                     f"{row['ratio']:>7.2f}{memory:>10}{peak:>6}")  # fmt: skip
    lines.append(
        f"waiting for data: {training['data_wait_share']:.1%} of "
        f"{training['run_seconds']:.1f} seconds of training, {load['workers']} workers"
    )
    return "\n".join(lines)


class _TrainingStep:
    """Training steps on the same random clips."""

    def __init__(self, detector: nn.Module, workload: Workload, bfloat16: bool = False) -> None:
        self.detector = detector.to(workload.device).train()
        self.bfloat16, self.device = bfloat16, workload.device
        self.optimizer = make_optimizer(detector, _SCHEDULE)
        generator = torch.Generator().manual_seed(0)
        count = workload.batch
        size = (count, workload.frames, workload.height, workload.width, 3)
        clips = torch.randint(256, size, dtype=torch.uint8, generator=generator)
        boxes = torch.from_numpy(_person_boxes(workload.height, workload.width)[:, :4]).float()
        labels = torch.eye(len(LABELS))[: len(boxes)]
        self.batch = (
            clips.to(self.device),
            torch.arange(count, device=self.device),
            torch.full((count,), workload.frames // 2, device=self.device),
            [boxes.to(self.device)] * count,
            [labels.to(self.device)] * count,
            list(range(count)),
        )

    def loss(self) -> Tensor:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            return torch.stack(list(self.detector(*self.batch).values())).sum()

    def __call__(self) -> None:
        self.loss().backward()
        nn.utils.clip_grad_norm_(self.detector.parameters(), _SCHEDULE.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()


def _make_detector(workload: Workload, proposals: ProposalKind) -> Detector:
    """New weights with scores as spread as after training: two classes a box above 0.01."""
    torch.manual_seed(0)
    detector = build_detector(workload.config(workload.backbone, proposals))
    with torch.no_grad():
        detector.head.scores.bias[:3] = torch.tensor([4.0, 4.0, 3.0])
    return detector.to(workload.device).eval()


def _person_boxes(height: int, width: int) -> np.ndarray:
    """(3, 5) x1 y1 x2 y2 in pixels, and score."""
    boxes = rescale_boxes(_PERSON_BOXES, (1, 1), (width, height))
    return np.concatenate([boxes, np.ones((len(boxes), 1))], axis=1)


def _make_batch(workload: Workload, mode: Mode) -> ClipBatch:
    """Random frames, each a key frame with three person boxes."""
    rng = np.random.default_rng(0)
    boxes = _person_boxes(workload.height, workload.width)[:, :4]
    size = (workload.height, workload.width, 3)
    geometry = ClipGeometry(workload.config(workload.backbone, "external"))

    frames = (
        (rng.integers(256, size=size, dtype=np.uint8), boxes) for _ in range(KEY_FRAMES_PER_CLIP)
    )
    return next(iter_clip_batches(frames, geometry, mode=mode))


def _peak_share(flops: int, seconds: float) -> float | None:
    """The share of the tensor cores' peak; None on a GPU whose peak is not known here."""
    name = torch.cuda.get_device_name()
    known = ("H100" in name or "H200" in name) and "PCIe" not in name and "NVL" not in name
    return flops / seconds / _TENSOR_PEAK if known else None
