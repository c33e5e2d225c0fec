"""The command `actiontubes train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from ..datasets.clips.options import Augmentation, ClipConfig, ClipSampling, DetectionData
from ..datasets.file_options import FileOptions
from ..detect.model.config import DetectorConfig, InitialWeights
from ..detect.training.options import (
    FeatureOptions,
    RoiTraining,
    RunOptions,
    Schedule,
    split_folders,
)
from .arguments import Omit


def train(
    *,
    data: DetectionData,
    files: FileOptions,
    out: Path = Path("trained"),
    proposals: str = "resnet50",
    config: Annotated[DetectorConfig, Omit("labels", "proposals", "mean", "std")],
    initial: InitialWeights,
    clips: Annotated[ClipConfig, Omit("frames", "size", "frame_step", "streams", "flow_method")],
    sampling: ClipSampling,
    augmentation: Annotated[Augmentation, Omit("crop")],
    rois: RoiTraining,
    features: FeatureOptions,
    schedule: Schedule,
    run: RunOptions,
    push: str | None = None,
) -> None:
    """Train an action detector: Faster R-CNN in space and time on an S3D backbone.

    Start from a recipe with --config: demo, jhmdb, ucf101-24, ucf101-24-mini, custom, laptop, or
    your own YAML file; options on the command line override it. On several GPUs or machines:
    accelerate launch -m actiontubes.tools.main train ... Writes to OUT: detector.safetensors (the
    best so far by frame-mAP at IoU 0.5, for `actiontubes detect --checkpoint`) with its
    results.json, and detections.parquet and tubes.parquet of the test videos; last.safetensors,
    state.pt (for --resume, also after Ctrl-C), losses.csv and evaluations.csv, and pictures of the
    run: curves.png, confusion.png, precision_recall.png and test_frames.jpg.

    Args:
        out: Output folder; with several --splits, one subfolder for each.
        proposals: Where proposals come from: resnet50 (RPN on a ResNet of the key frame, as in the
            paper), resnet18, features (RPN on the backbone's features), ground-truth (jittered), or
            any --proposals source of `detect`, which is run once over all videos.
        push: Share the best detector on the Hugging Face Hub as OWNER/NAME, with its results and a
            model card; the repository is made private at first. `detect --checkpoint
            hub:OWNER/NAME` and `actiontubes.load` read it. With --resume, a finished run is shared.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.class_list import expand_labels
    from ..datasets.clips.detection_set import open_detection_sets
    from ..datasets.errors import InputError, refuse_options
    from ..detect.model.pretrained import new_detector
    from ..detect.training import publish
    from ..detect.training.detector import train_and_evaluate
    from ..detect.training.proposals import RPN_KINDS
    from ..detect.training.state import check_folder

    if not proposals.lower().endswith(".onnx"):
        refuse_options(
            "only works with an ONNX detector as --proposals; leave it out",
            person_class=files.person_class,
        )  # fmt: skip
    keep_freed_memory()
    is_main_process = run.accelerator(out).is_main_process
    labels = expand_labels(data.labels)
    # All splits are opened before the first is trained on, so that errors come early.
    sets = {
        folder: open_detection_sets(
            data.data, media=data.media, split=split, train_videos=data.train_videos,
            test_videos=data.test_videos, labels=labels, files=files,
        )
        for split, folder in split_folders(out, data.splits).items()
    }  # fmt: skip
    for folder in sets:
        check_folder(folder, resume=run.resume)
    if push is not None:
        if len(sets) > 1:
            raise InputError("--push: shares one detector; give one split")
        if is_main_process:
            publish.open_repository(push)
    kind = proposals if proposals in RPN_KINDS else "external"
    scores = []
    for folder, (train_set, test_set) in sets.items():
        detector = new_detector(
            replace(config, labels=train_set.labels, proposals=kind),  # type: ignore[arg-type]
            **vars(initial),
            seed=run.seed,
        )
        with run.lock(folder):
            _, result = train_and_evaluate(
                detector, train_set, test_set, folder, clips=clips, sampling=sampling,
                augmentation=augmentation, rois=rois, schedule=schedule, run=run,
                proposals=proposals, files=files, features=features,
                calibration_videos=data.calibration_videos,
                calibration_folds=data.calibration_folds,
                train_on_calibration_videos=data.train_on_calibration_videos,
            )  # fmt: skip
        scores.append(result)
    if is_main_process:
        _print_summary(scores, out)
        if push is not None:
            train_set, test_set = sets[out]
            print(publish.push(push, out, data.data.stem, train_set, test_set))


def _print_summary(scores: list[dict], out: Path) -> None:
    def mean(measure: str) -> str:
        values = [score[measure]["0.5"] for score in scores]
        each = f" ({', '.join(f'{value:.2f}' for value in values)})" if len(values) > 1 else ""
        return f"{sum(values) / len(values):.2f}{each}"

    print(f"{out}: frame-mAP@0.5 {mean('frame_map')}, video-mAP@0.5 {mean('video_map')} "
          f"(protocol {scores[0]['protocol']})")  # fmt: skip
    checkpoint = next(iter(sorted(out.rglob("detector.safetensors"))), None)
    print(f"actiontubes detect VIDEO --checkpoint {checkpoint}")
