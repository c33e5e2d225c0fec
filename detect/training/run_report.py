"""What a training run says of itself: a header, and plots after each evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.storage.text_files import read_csv
from ...datasets.tables import Detections, Tubes, select_rows
from ..evaluation.analysis.confusion import confusion_matrix
from ..evaluation.evaluate import Evaluation
from ..evaluation.frame_map import frame_overlaps
from ..visualization.training_plots import (
    draw_test_frames,
    plot_confusion,
    plot_precision_recall,
    plot_training,
)
from .state import EVALUATIONS, LOSSES

CURVES, CONFUSION = "curves.png", "confusion.png"
PRECISION_RECALL, TEST_FRAMES = "precision_recall.png", "test_frames.jpg"
_MIN_SCORE, _MIN_IOU = 0.25, 0.5  # of what the plots count
_SHOWN_CLASSES = 12
_SHEET_FRAMES = 12


def describe_training(
    train_set: DetectionSet, test_set: DetectionSet, model: nn.Module, device: str
) -> list[str]:
    """Lines about what is trained, on what, and where.

    Args:
        train_set, test_set: the videos.
        model: as it will be trained.
        device: in words.
    """
    tubes = train_set.tubes
    boxes = np.bincount(tubes.label, minlength=len(train_set.labels))
    pairs = np.unique(np.column_stack([tubes.label, tubes.tube]), axis=0)
    people = np.bincount(pairs[:, 0], minlength=len(train_set.labels))
    classes = [
        f"{name} ({count} tubes, {total} boxes)"
        for name, count, total in zip(train_set.labels, people, boxes)
    ]
    more = len(classes) - _SHOWN_CLASSES
    shown = ", ".join(classes[:_SHOWN_CLASSES]) + (f" and {more} more" if more > 0 else "")
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    whole = sum(each.numel() for each in model.parameters())
    parts = [
        name
        for name, part in model.named_children()
        if any(each.requires_grad for each in part.parameters())
    ]
    return [
        f"training on {_describe_set(train_set)}",
        f"testing on {_describe_set(test_set)}",
        f"{len(classes)} classes: {shown}",
        f"trained: {trained / 1e6:.2f} of {whole / 1e6:.2f} million weights, in {', '.join(parts)}",
        f"device: {device}",
    ]


def report_evaluation(
    folder: Path, test_set: DetectionSet, detections: Detections, tubes: Tubes, result: Evaluation
) -> None:
    """Writes the confusion matrix, precision-recall curves and drawn test frames of a detector.

    Args:
        folder: of the run.
        test_set: the test videos.
        detections, tubes: found in them.
        result: with the scores of frames.
    """
    overlaps = frame_overlaps(test_set.tubes, detections, [result.protocol], _MIN_IOU)
    matrix = confusion_matrix(overlaps, result.protocol, _MIN_IOU, _MIN_SCORE)
    title = f"boxes of a score from {_MIN_SCORE:g} on, IoU {_MIN_IOU:g}"
    plot_confusion(matrix, test_set.labels, title, folder / CONFUSION)
    scores = next(each for each in result.frame_scores if each.threshold == _MIN_IOU)
    plot_precision_recall(
        scores.curves, scores.ap, f"boxes at IoU {_MIN_IOU:g} ({result.protocol.name})",
        folder / PRECISION_RECALL,
    )  # fmt: skip
    _draw_sheet(test_set, tubes, folder / TEST_FRAMES)


def report_curves(folder: Path) -> None:
    """Draws losses.csv and evaluations.csv of a run."""
    losses, scores = _read_columns(folder / LOSSES), _read_columns(folder / EVALUATIONS)
    if losses and scores:
        plot_training(losses, scores, folder / CURVES)


def class_line(ap: Mapping[str, float | None]) -> str:
    """The average precision of each class in one line, the best first."""
    known = sorted(((v, name) for name, v in ap.items() if v is not None), reverse=True)
    return "  AP by class: " + ", ".join(f"{name} {value:.1f}" for value, name in known)


def _describe_set(videos: DetectionSet) -> str:
    tubes = videos.tubes
    person = getattr(tubes, "person", None)
    people = ""
    if person is not None:
        known = np.column_stack([tubes.video, person])[person > 0]
        people = f"{len(np.unique(known, axis=0))} persons, "
    return (
        f"{len(videos)} videos, {int(videos.num_frames.sum())} frames, {people}"
        f"{len(np.unique(tubes.tube))} tubes, {len(tubes)} boxes"
    )


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns of numbers of a CSV file of the run."""
    header, *rows = read_csv(path) if path.is_file() else [[]]
    columns: dict[str, np.ndarray] = {}
    for name, *values in zip(header, *(row for row in rows if len(row) == len(header))):
        try:
            columns[name] = np.array(values, np.float64)
        except ValueError:  # the protocol
            continue
    return columns


def _draw_sheet(test_set: DetectionSet, tubes: Tubes, out: Path) -> None:
    """Frames in the middle of annotated stretches, spread over the test videos."""
    truth = test_set.tubes
    if tubes.score is not None:  # an untrained detector finds something everywhere
        tubes = select_rows(tubes, tubes.score >= _MIN_SCORE)
    videos = np.unique(truth.video)
    videos = videos[np.linspace(0, len(videos) - 1, min(len(videos), _SHEET_FRAMES)).astype(int)]
    each = max(1, _SHEET_FRAMES // max(1, len(videos)))
    frames, found, true = [], [], []
    for video in videos.tolist():
        numbers = np.unique(truth.frame[truth.video == video])
        places = np.linspace(0, len(numbers) - 1, each + 2)[1:-1].astype(int)
        for number in np.unique(numbers[places]).tolist():
            (frame,) = test_set.read_frames(video, number, number + 1)
            scale = np.array(frame.shape[1::-1]) / [test_set.width[video], test_set.height[video]]
            rows = select_rows(tubes, (tubes.video == video) & (tubes.frame == number))
            target = select_rows(truth, (truth.video == video) & (truth.frame == number))
            frames.append(frame)
            names = [rows.label_names[label] for label in rows.label]
            score = np.ones(len(rows)) if rows.score is None else rows.score
            found.append((rows.boxes * np.tile(scale, 2), names, score))
            labels = [target.label_names[label] for label in target.label]
            true.append((target.boxes * np.tile(scale, 2), labels))
    draw_test_frames(frames, found, true, out)
