"""The two kinds of detection that `actiontubes detect` runs, from the words of its options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..datasets.files import InputError, as_option

if TYPE_CHECKING:
    from ..detect.dense import Mode
    from ..detect.many_videos import Settings, Start
    from ..detect.proposals import Proposals
    from ..detect.video_results import VideoSummary


def refuse(why: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{as_option(name)}: {why}")


def zero_shot(
    backbone: str | None,
    weights: str | None,
    proposals: str | None,
    labels: list[str] | None,
    scene: float | None,
    threshold: float | None,
    device: str,
    progress: bool,
) -> tuple[Start, Settings]:
    """Detection by a person detector and a network trained to classify whole videos."""
    from ..backbones.folding import fold_norms
    from ..backbones.inception import get_variant
    from ..backbones.weights import load_pretrained
    from ..detect.video_tubes import find_tubes
    from ..detect.zero_shot import choose_labels

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
    chosen = choose_labels(labels, model.labels)
    people_of, source = _people_of(proposals or "default", device)

    @contextmanager
    def start(video: Path, name: str) -> Iterator[Callable[[Path], VideoSummary]]:
        def run(folder: Path) -> VideoSummary:
            return find_tubes(
                video, name, model, people_of(name), chosen, folder, scene=share,
                threshold=lowest, device=device, progress=progress,
            )  # fmt: skip

        yield run

    return start, {
        "backbone": backbone, "weights": _content(weights), "proposals": source,
        "labels": list(chosen.names), "scene": share, "threshold": lowest,
    }  # fmt: skip


def trained(
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
) -> tuple[Start, Settings]:
    """Detection by a detector that `actiontubes train` made."""
    import torch

    from ..backbones.folding import fold_norms
    from ..detect.dense import Detects, compile_trunk
    from ..detect.detector_file import load_detector
    from ..detect.fusion import ScoreFusion
    from ..detect.linking.greedy import ACT, SINGH, GreedyRules
    from ..detect.linking.viterbi import PENG, ViterbiRules
    from ..detect.onnx_detector import load_onnx_detector
    from ..detect.trained_tubes import THRESHOLD, trained_tubes

    if every is not None and every < 1:
        raise InputError(f"--every {every}: must be 1 or more (frames between key frames)")
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision or "no")
    mode, link, every = mode or "shared", link or "act", every or 1
    detector: Detects
    if checkpoint.suffix == ".onnx":
        refuse(
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
    rules: dict[str, GreedyRules | ViterbiRules] = {"act": ACT, "viterbi": PENG, "online": SINGH}
    asks = proposals is not None or detector.proposals is None
    people_of, source = None, None
    if asks:
        people_of, source = _people_of(proposals or "default", device)
    lowest = THRESHOLD if threshold is None else threshold

    def start(video: Path, name: str) -> AbstractContextManager[Callable[[Path], VideoSummary]]:
        return trained_tubes(
            video, name, detector, people_of and people_of(name), rules=rules[link],
            threshold=lowest, mode=mode, every=every, half=half, device=device, progress=progress,
        )  # fmt: skip

    return start, {
        "checkpoint": _content(str(checkpoint)), "fuse": fuse and _content(str(fuse)),
        "proposals": source, "every": every, "mode": mode,
        "link": link, "precision": precision or "no", "threshold": lowest,
    }  # fmt: skip


def _people_of(proposals: str, device: str) -> tuple[Callable[[str], Proposals], str]:
    """Opens the proposals once: those of a video by its name, and what tells them from others."""
    from ..datasets.tables import Detections, read_table
    from ..detect.proposals import DEFAULT_CPU, DEFAULT_GPU, open_proposals, table_proposals

    if proposals.endswith((".parquet", ".csv")):
        boxes = read_table(Detections, Path(proposals))
        return lambda name: table_proposals(boxes, name, where=proposals), _content(proposals)
    source = open_proposals(proposals, device=device)
    if proposals == "default":
        proposals = DEFAULT_CPU if device == "cpu" else DEFAULT_GPU
    return lambda name: source, _content(proposals)


def _content(name: str) -> str:
    """The digest of a file, or the name where it is none."""
    from ..detect.many_videos import digest

    return digest(Path(name)) if Path(name).is_file() else name
