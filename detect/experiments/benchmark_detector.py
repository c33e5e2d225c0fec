"""Times the detector on this machine: on every frame of a video, and in training.

Whatever is compared runs in alternating rounds of one process, so that all meet the same load.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.video import s3d

from ...backbones.family import ENDPOINTS, get_variant
from ...backbones.weights.convert import from_torchvision_s3d
from ...datasets.clips.augmentation import Augmentation
from ...datasets.clips.detection_clips import ClipConfig, DetectionClips
from ...datasets.clips.detection_set import DetectionSet, open_detection_sets
from ...datasets.figures.dataset import make_figure_dataset
from ...datasets.figures.motion import LABELS
from ..inference.clip_batches import ClipBatch, iter_clip_batches
from ..inference.clip_geometry import KEY_FRAMES_PER_CLIP, ClipGeometry, Mode
from ..inference.predictor import FrameDetections, TorchPredictor, postprocess
from ..model.build import build_detector
from ..model.config import DetectorConfig, ProposalKind
from ..model.detector import Detector
from ..people.person_boxes import FunctionSource
from ..training.detector import train_detector
from ..training.loop import make_optimizer
from ..training.options import Schedule
from ..training.state import LOSSES
from .benchmark_backbones import has_bfloat16, timed_rounds
from .benchmark_videos import STAGES, benchmark_videos

# Three people a frame: x1 y1 x2 y2 as shares of the picture.
_PEOPLE = np.array([[0.1, 0.3, 0.3, 0.9], [0.4, 0.2, 0.6, 0.95], [0.65, 0.4, 0.8, 0.8]])
_SOURCES: tuple[ProposalKind, ...] = ("given", "features", "resnet50")
_SCHEDULE = Schedule(steps=1, lr=1e-4)
_UNCOUNTED = 4  # steps of the short training run, in which its worker processes start
_TENSOR_PEAK = 989e12
"""Dense bf16 FLOP/s of an H100 SXM and an H200, by NVIDIA's data sheets."""


@dataclass(frozen=True)
class Workload:
    """What is timed.

    Attributes:
        backbone, endpoint: see `DetectorConfig`; training is timed on S3D, torchvision's network.
        frames, height, width: of the clip around a key frame.
        batch: clips of a training step.
        repeats: rounds that are timed.
        device: "cpu" or "cuda"; bfloat16 is timed too where it is native, compilation on a GPU.
        workers: processes that read clips in the short training run.
        steps: of that run, after four that are not counted.
        hidden: of the action head's layers.
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
    hidden: int = 1024

    def settings(self, backbone: str, proposals: ProposalKind) -> DetectorConfig:
        return DetectorConfig(
            LABELS, backbone, endpoint=self.endpoint, proposals=proposals,
            proposal_endpoint=self.endpoint, hidden=self.hidden, frames=self.frames,
            height=self.height, width_pixels=self.width, norm="batch",
        )  # fmt: skip


class TorchvisionTrunk(nn.Module):
    """torchvision's S3D layers as they come, in place of a `Trunk`.

    Args:
        layers: of torchvision's `S3D.features`, from the first one on.
        trunk: whose place they take.
    """

    def __init__(self, layers: nn.Sequential, trunk: nn.Module) -> None:
        super().__init__()
        self.layers, self.variant = layers, trunk.variant

    def endpoints(self, clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        x, features = clips, {}
        for name, layer in zip(ENDPOINTS, self.layers):
            x = layer(x)
            if name in names:
                features[name] = x
        return features


def benchmark_detector(
    load: Workload, progress: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """All figures of the detector.

    Args:
        load: see there.
        progress: called with a name before each timed run.

    Returns:
        the workload, device, threads, torch's version; `dense` of `benchmark_dense` and
        `benchmark_videos`; `train` of `benchmark_training` and of `data_wait`.
    """
    dense = benchmark_dense(load, progress)
    training = benchmark_training(load, progress)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "figures"
        progress("making figures")
        make_figure_dataset(data, train=4, test=1, height=240, width=320, progress=False)
        train_set, test_set = open_detection_sets(data)
        half = torch.bfloat16 if load.device == "cuda" else None
        dense |= benchmark_videos(
            {
                source: TorchPredictor(
                    _for_finding(load, source), device=load.device, autocast_dtype=half
                )
                for source in _SOURCES
            },
            test_set.media[0],
            FunctionSource(lambda frames, _: [_people(*frames.shape[1:3])] * len(frames)),
            progress=progress,
        )  # fmt: skip
        progress("short training run")
        training |= data_wait(load, train_set, Path(folder) / "run")
    return {
        "workload": asdict(load),
        "device": torch.cuda.get_device_name() if load.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dense": dense,
        "train": training,
    }


def benchmark_dense(
    load: Workload, progress: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """Key frames a second where every frame is one, in both modes of `dense.pieces`.

    The same weights, three given people a frame, frames of the trunk's size in memory: the time of
    `dense.look`, in bfloat16 on a GPU.

    Returns:
        shared_fps, per_clip_fps (medians), ratio (median over rounds); on a GPU tensor_peak_share
        of the shared mode, on a CPU with native bfloat16 shared_bfloat16_fps.
    """
    half = torch.bfloat16 if load.device == "cuda" else None
    detector = _for_finding(load, "given")
    shared, single = (_piece(load, mode) for mode in ("shared", "per_clip"))
    ways: dict[str, tuple[ClipBatch, torch.dtype | None]] = {
        "shared": (shared, half), "per_clip": (single, half)
    }  # fmt: skip
    if load.device == "cpu" and has_bfloat16("cpu"):
        ways["shared_bfloat16"] = (shared, torch.bfloat16)

    def run(batch: ClipBatch, dtype: torch.dtype | None) -> FrameDetections:
        predictor = TorchPredictor(detector, device=load.device, autocast_dtype=dtype)
        return postprocess(predictor.predict(batch), predictor.config)

    runs = {f"dense, {name}": lambda way=way: run(*way) for name, way in ways.items()}
    seconds = timed_rounds(runs, load.repeats, load.device, progress, _unseen(load.device))
    fps = {
        name: [len(part.frame_numbers) / each for each in rounds]
        for (name, (part, _)), rounds in zip(ways.items(), seconds.values())
    }
    result: dict[str, Any] = {f"{name}_fps": median(rounds) for name, rounds in fps.items()}
    result["ratio"] = median(a / b for a, b in zip(fps["shared"], fps["per_clip"]))
    if half:
        work = count_flops(runs["dense, shared"])
        result["tensor_peak_share"] = _peak_share(work, median(seconds["dense, shared"]))
    return result


def benchmark_training(
    load: Workload, progress: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """A training step of the detector against one whose trunk is torchvision's S3D, run eagerly.

    Both have the same weights, an RPN on the trunk's features, norms that are trained, and compute
    the same function: forward, backward, clipped gradients, SGD with momentum.

    Returns:
        clips_per_second, torchvision_clips_per_second, ratio of both in float32, loss_difference
        (relative, of the first step), and `find_runs`: for each kind of step seconds (median),
        clips_per_second, ratio to torchvision's; on a GPU memory_bytes (the most that a
        step allocates beside weights and momenta) and, in bfloat16, tensor_peak_share.
    """
    torch.manual_seed(0)
    original = s3d(weights=None)
    ours = build_detector(load.settings("s3d", "features"))
    converted = from_torchvision_s3d(original.state_dict(), (), get_variant("s3d"))
    ours.trunk.load_state_dict(converted.trunk.state_dict(), strict=False)
    theirs = build_detector(load.settings("s3d", "features"))
    theirs.load_state_dict(ours.state_dict())
    layers = original.features[: ENDPOINTS.index(load.endpoint) + 1]
    theirs.trunk = TorchvisionTrunk(layers, theirs.trunk)  # type: ignore[assignment]
    steps: dict[str, _Step] = {"ours": _Step(ours, load), "torchvision": _Step(theirs, load)}
    if has_bfloat16(load.device):
        steps["ours, bfloat16"] = _Step(ours, load, half=True)
    if load.device == "cuda":
        twin = copy.deepcopy(ours)
        # The rest has shapes that follow from the data: proposals, examples.
        twin.trunk.endpoints = torch.compile(twin.trunk.endpoints)  # type: ignore[method-assign]
        steps["ours, bfloat16, compiled"] = _Step(twin, load, half=True)
    losses = [steps[name].loss().item() for name in ("ours", "torchvision")]
    seconds = timed_rounds(steps, load.repeats, load.device, progress, _unseen(load.device))
    base = seconds["torchvision"]
    rows: dict[str, dict[str, Any]] = {}
    for name, step in steps.items():
        rows[name] = {
            "seconds": median(seconds[name]),
            "clips_per_second": load.batch / median(seconds[name]),
            "ratio": median(a / b for a, b in zip(base, seconds[name])),
        }
        if load.device == "cuda":
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            step()
            rows[name]["memory_bytes"] = torch.cuda.max_memory_allocated() - before
    if load.device == "cuda":
        # A compiled step cannot be counted; it computes what the others do.
        work = count_flops(steps["ours, bfloat16"])
        for name in ("ours, bfloat16", "ours, bfloat16, compiled"):
            rows[name]["tensor_peak_share"] = _peak_share(work, rows[name]["seconds"])
    return {
        "clips_per_second": rows["ours"]["clips_per_second"],
        "torchvision_clips_per_second": rows["torchvision"]["clips_per_second"],
        "ratio": rows["ours"]["ratio"],
        "loss_difference": abs(losses[0] / losses[1] - 1),
        "runs": rows,
    }


def data_wait(load: Workload, train_set: DetectionSet, out: Path) -> dict[str, float]:
    """Which share of its time `training.train` waits for clips, in a short run over real videos.

    Decoded from their files each time, with all augmentation; on a GPU in bfloat16.

    Returns:
        data_wait_share, and seconds and clips_per_second of the run's steps.
    """
    on_gpu = load.device == "cuda"
    accelerator = Accelerator(mixed_precision="bf16" if on_gpu else "no", cpu=not on_gpu)
    clips = DetectionClips(
        train_set, ClipConfig(load.frames, load.height, load.width), seed=0,
        augmentation=Augmentation(),
    )  # fmt: skip
    detector = build_detector(load.settings("s3d", "features"))
    schedule = replace(_SCHEDULE, steps=_UNCOUNTED + load.steps, batch=load.batch)
    train_detector(detector, clips, out, schedule, accelerator, workers=load.workers)
    rows = np.genfromtxt(out / LOSSES, delimiter=",", names=True)[_UNCOUNTED:]
    seconds, waited = (float(rows[name].sum()) for name in ("seconds", "waited"))
    return {
        "data_wait_share": waited / seconds,
        "run_seconds": seconds,
        "run_clips_per_second": load.batch * len(rows) / seconds,
    }


def count_flops(run: Callable[[], object]) -> int:
    """Floating point operations of convolutions and matrix products, a multiply-add as two."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def benchmark_table(result: dict[str, Any]) -> str:
    """The result as text for people."""
    load, dense, training = result["workload"], result["dense"], result["train"]
    lines = [
        f"{load['frames']}x{load['height']}x{load['width']} to {load['endpoint']}, "
        f"{result['device']}, {result['threads']} threads, medians of {load['repeats']} rounds",
        f"every frame a key frame ({load['backbone']}): {dense['shared_fps']:.1f} a second from a "
        f"shared map, {dense['per_clip_fps']:.2f} from a clip each: {dense['ratio']:.1f} times",
        *(
            [f"in bfloat16: {dense['shared_bfloat16_fps']:.1f} a second from a shared map"]
            if "shared_bfloat16_fps" in dense
            else []
        ),
        "from the video file to tables, proposals "
        + ", ".join(f"{source}: {fps:.1f}" for source, fps in dense["end_to_end_fps"].items())
        + " frames a second",
        *(
            f"proposals {source}: "
            + ", ".join(f"{stage} {stages[stage]:.0%}" for stage in STAGES)
            + f" of the time; {stages['limit']} limits"
            for source, stages in dense["stages"].items()
        ),
        f"{'training step (s3d)':28}  seconds  clips/s  times    memory  peak",
    ]
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


class _Step:
    """One training step after the other, on the same random clips."""

    def __init__(self, detector: nn.Module, load: Workload, half: bool = False) -> None:
        self.detector = detector.to(load.device).train()
        self.half, self.device = half, load.device
        self.optimizer = make_optimizer(detector, _SCHEDULE)
        generator = torch.Generator().manual_seed(0)
        size = (load.batch, load.frames, load.height, load.width, 3)
        clips = torch.randint(256, size, dtype=torch.uint8, generator=generator)
        boxes = torch.from_numpy(_people(load.height, load.width)[:, :4]).float()
        labels = torch.eye(len(LABELS))[: len(boxes)]
        every = range(load.batch)
        self.batch = (
            clips.to(load.device),
            torch.arange(load.batch, device=load.device),
            torch.full((load.batch,), load.frames // 2, device=load.device),
            [boxes.to(load.device) for _ in every],
            [labels.to(load.device) for _ in every],
            list(every),
        )

    def loss(self) -> Tensor:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            return torch.stack(list(self.detector(*self.batch).values())).sum()

    def __call__(self) -> None:
        self.loss().backward()
        nn.utils.clip_grad_norm_(self.detector.parameters(), _SCHEDULE.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()


def count_runs(load: Workload) -> int:
    """How often `benchmark_detector` calls `progress`."""
    kinds = 4 + 2 * has_bfloat16(load.device)
    return (_unseen(load.device) + load.repeats) * kinds + 1 + 3 * len(_SOURCES) + 1


def _unseen(device: str) -> int:
    return 1 if device == "cpu" else 3


def _for_finding(load: Workload, proposals: ProposalKind) -> Detector:
    """New weights whose scores are spread as trained ones': two classes a box above 0.01."""
    torch.manual_seed(0)
    detector = build_detector(load.settings(load.backbone, proposals))
    with torch.no_grad():
        detector.head.scores.bias[:3] = torch.tensor([4.0, 4.0, 3.0])
    return detector.to(load.device).eval()


def _people(height: int, width: int) -> np.ndarray:
    """(3, 5) boxes in pixels, and their scores."""
    boxes = _PEOPLE * [width, height, width, height]
    return np.concatenate([boxes, np.ones((len(boxes), 1))], axis=1)


def _piece(load: Workload, mode: Mode) -> ClipBatch:
    rng = np.random.default_rng(0)
    people = _people(load.height, load.width)[:, :4]
    geometry = ClipGeometry(load.settings(load.backbone, "given"))

    def frames() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _ in range(KEY_FRAMES_PER_CLIP):
            yield rng.integers(256, size=(load.height, load.width, 3), dtype=np.uint8), people

    return next(iter_clip_batches(frames(), geometry, mode=mode))


def _peak_share(flops: int, seconds: float) -> float | None:
    """Of the tensor cores' peak; None on a GPU whose peak stands nowhere here."""
    name = torch.cuda.get_device_name()
    known = ("H100" in name or "H200" in name) and "PCIe" not in name and "NVL" not in name
    return flops / seconds / _TENSOR_PEAK if known else None
