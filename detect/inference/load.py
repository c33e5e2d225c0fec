"""A predictor from a checkpoint, an ONNX file or a backbone's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...datasets.errors import InputError, refuse_options

if TYPE_CHECKING:
    from ..people.proposals import ProposalSource
    from .clip_geometry import Mode
    from .resumable_run import OpenVideo, Settings
    from .video_output import VideoSummary


def open_zero_shot(
    backbone: str | None,
    weights: str | None,
    proposals: str | None,
    labels: list[str] | None,
    scene: float | None,
    threshold: float | None,
    device: str,
    progress: bool,
) -> tuple[OpenVideo, Settings]:
    """Detection by a person detector and a network trained to classify whole videos."""
    from ...backbones.family import get_variant
    from ...backbones.fold_norms import fold_norms
    from ...backbones.weights.load import load_pretrained
    from ..model.zero_shot import select_labels
    from .zero_shot_tubes import zero_shot_tubes

    share = 0.5 if scene is None else scene
    lowest = 0.05 if threshold is None else threshold
    if not 0 <= share <= 1:
        raise InputError(f"--scene {share}: must be between 0 and 1")
    backbone, weights = backbone or "i3d", weights or "kinetics400"
    model = load_pretrained(get_variant(backbone), weights)
    if model.head is None or not model.labels:
        raise InputError(
            f"--weights {weights}: have no class names, so people cannot be given labels; use "
            "kinetics400"
        )
    model.trunk.to(device)
    model.head.to(device)
    fold_norms(model.trunk)
    chosen = select_labels(labels, model.labels)
    people_source, source = _open_source(proposals or "default", device)

    @contextmanager
    def start(video: Path, name: str) -> Iterator[Callable[[Path], VideoSummary]]:
        def run(folder: Path) -> VideoSummary:
            return zero_shot_tubes(
                video, name, model, people_source, chosen, folder, scene=share,
                threshold=lowest, device=device, progress=progress,
            )  # fmt: skip

        yield run

    return start, {
        "backbone": backbone, "weights": _content(weights), "proposals": source,
        "labels": list(chosen.names), "scene": share, "threshold": lowest,
    }  # fmt: skip


def open_checkpoint(
    checkpoint: Path,
    fuse: Path | None,
    proposals: str | None,
    every: int | None,
    mode: Mode | None,
    link: str | None,
    precision: str | None,
    compile: bool,
    threshold: float | None,
    device: str,
    progress: bool,
) -> tuple[OpenVideo, Settings]:
    """Detection by a detector that `actiontubes train` made."""
    import torch

    from ...backbones.fold_norms import fold_norms
    from ..linking.greedy import ACT, SINGH, GreedyConfig
    from ..linking.viterbi import PENG, ViterbiConfig
    from ..model.checkpoint import load_detector
    from ..model.late_fusion import ScoreFusion
    from .detector_tubes import TUBE_SCORE_THRESHOLD, detector_tubes
    from .onnx_detector import load_onnx_detector
    from .predictor import Detects, compile_trunk

    if every is not None and every < 1:
        raise InputError(f"--every {every}: must be 1 or more (frames between key frames)")
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision or "no")
    mode, link, every = mode or "shared", link or "act", every or 1
    detector: Detects
    if checkpoint.suffix == ".onnx":
        refuse_options(
            "cannot be used with an ONNX model, which runs exactly as it was exported; leave it "
            "out",
            fuse=fuse, precision=precision, compile=compile or None,
        )  # fmt: skip
        detector = load_onnx_detector(checkpoint, device=device)
    else:
        parts = [load_detector(path).to(device) for path in (checkpoint, fuse) if path is not None]
        detector = fold_norms(parts[0] if fuse is None else ScoreFusion(*parts), half)
        for part in parts if compile else ():
            compile_trunk(part, mode)
    rules: dict[str, GreedyConfig | ViterbiConfig] = {"act": ACT, "viterbi": PENG, "online": SINGH}
    asks = proposals is not None or detector.proposals is None
    people_source, source = None, None
    if asks:
        people_source, source = _open_source(proposals or "default", device)
    lowest = TUBE_SCORE_THRESHOLD if threshold is None else threshold

    def start(video: Path, name: str) -> AbstractContextManager[Callable[[Path], VideoSummary]]:
        return detector_tubes(
            video, name, detector, people_source, rules=rules[link],
            threshold=lowest, mode=mode, every=every, half=half, device=device, progress=progress,
        )  # fmt: skip

    return start, {
        "checkpoint": _content(str(checkpoint)), "fuse": fuse and _content(str(fuse)),
        "proposals": source, "every": every, "mode": mode,
        "link": link, "precision": precision or "no", "threshold": lowest,
    }  # fmt: skip


def _open_source(proposals: str, device: str) -> tuple[ProposalSource, str]:
    """The source, and what identifies its results: a file's digest, or the name."""
    from ..people.proposals import default_detector, open_proposal_source

    source = open_proposal_source(proposals, device=device)
    return source, _content(default_detector(device) if proposals == "default" else proposals)


def _content(name: str) -> str:
    """The digest of a file, or the name where it is none."""
    from ...datasets.files import file_digest

    return file_digest(Path(name)) if Path(name).is_file() else name
