"""What a training run shows of itself: curves, confusion matrix, precision-recall, test frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from ...datasets.errors import InputError
from ...datasets.storage.files import atomic_write
from .frame import draw_frame
from .plots import SERIES, plot_style

_SHOWN_CLASSES = 20  # with a curve of their own in the legend
_SHEET_WIDTH, _SHEET_COLUMNS = 400, 4  # pixels of a frame on the sheet; frames in a row


@plot_style
def plot_training(
    losses: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray], out: Path
) -> None:
    """Writes a PNG with the losses by part, the learning rate, and the scores at each evaluation.

    Args:
        losses: columns of losses.csv: "step", "lr" and the parts, (N,) each.
        scores: columns of evaluations.csv: "step" and scores in percent, (E,) each.
        out: the file.
    """
    figure = Figure((9.2, 3.6))
    left, middle, right = figure.subplots(1, 3)
    parts = [name for name in losses if name not in ("step", "lr", "seconds", "waited")]
    steps = losses["step"] + 1
    for name in parts:
        left.plot(steps, _smooth(losses[name]), label=name)
    left.set(title="losses (smoothed)", xlabel="step", ylim=(0, None))
    left.legend()
    middle.plot(steps, losses["lr"])
    middle.set(title="learning rate", xlabel="step", ylim=(0, None))
    for name, values in scores.items():
        if name != "step":
            right.plot(scores["step"], values, marker="o", ms=4, label=name)
    right.set(title="test videos, percent", xlabel="step", ylim=(0, 103))
    right.set_xlim(0, max(steps.max(initial=1), scores["step"].max(initial=1)) * 1.03)
    right.legend()
    for axes in (left, middle, right):
        axes.grid()
    _save(figure, out)


@plot_style
def plot_confusion(matrix: np.ndarray, labels: Sequence[str], title: str, out: Path) -> None:
    """Writes a PNG of a confusion matrix, its cells as shares of their row and as counts.

    Args:
        matrix: (C + 1, C + 1) of `confusion_matrix`.
        labels: C names.
        title: of the plot.
        out: the file.
    """
    count = len(labels)
    total = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    side = min(3.0 + 0.42 * (count + 1), 16)
    figure = Figure((side, side * 0.85))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(count + 1), [*labels, "missed"], rotation=60, ha="right")
    axes.set_yticks(range(count + 1), [*labels, "nobody"])
    axes.set(title=title, xlabel="detected", ylabel="true")
    if count < _SHOWN_CLASSES:
        for row, column in zip(*np.nonzero(matrix)):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, str(matrix[row, column]), ha="center", va="center", color=color,
                fontsize=7,
            )  # fmt: skip
    _save(figure, out)


@plot_style
def plot_precision_recall(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ap: Mapping[str, float | None],
    title: str,
    out: Path,
) -> None:
    """Writes a PNG with a curve for each class.

    Args:
        curves: precision and recall by class, 0 to 1.
        ap: average precision in percent by class.
        title: of the plot.
        out: the file.
    """
    figure = Figure((6.6, 4.2))
    axes = figure.subplots()
    lines = ("-", "--", ":", "-.")
    for k, (name, (precision, recall)) in enumerate(curves.items()):
        label = f"{name} {ap.get(name) or 0:.1f}" if k < _SHOWN_CLASSES else None
        style = lines[k // len(SERIES) % len(lines)]
        # A class that nothing was taken for has no points.
        x, y = np.append(np.zeros(len(recall[:1])), recall), np.append(precision[:1], precision)
        axes.plot(x, y, color=SERIES[k % len(SERIES)], ls=style, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall", ylabel="precision", title=title)
    axes.grid()
    if curves:
        figure.legend(loc="outside right upper", title="AP")
    _save(figure, out)


def draw_test_frames(
    frames: Sequence[np.ndarray],
    found: Sequence[tuple[np.ndarray, Sequence[str], np.ndarray]],
    truth: Sequence[tuple[np.ndarray, Sequence[str]]],
    out: Path,
) -> None:
    """Writes a JPEG of frames with their detections, and the ground truth dashed.

    Args:
        frames: (H, W, 3) uint8 RGB each, of any sizes.
        found: for each frame boxes (R, 4) in its pixels, their classes and scores.
        truth: for each frame boxes and classes.
        out: the file.
    """
    cells = []
    for frame, (boxes, labels, scores), (true_boxes, true_labels) in zip(frames, found, truth):
        scale = _SHEET_WIDTH / frame.shape[1]
        size = (_SHEET_WIDTH, max(1, round(frame.shape[0] * scale)))
        cells.append(
            draw_frame(
                cv2.resize(frame, size, interpolation=cv2.INTER_AREA), boxes * scale, labels,
                scores, truth_boxes=true_boxes * scale, truth_labels=true_labels, scale=1,
            )
        )  # fmt: skip
    if not cells:
        return
    height = max(cell.shape[0] for cell in cells)
    blank = np.zeros((height, _SHEET_WIDTH, 3), np.uint8)
    columns = min(len(cells), _SHEET_COLUMNS)
    padded = [np.concatenate([cell, blank[cell.shape[0] :]]) for cell in cells]
    padded += [blank] * (-len(padded) % columns)
    rows = [np.concatenate(padded[i : i + columns], 1) for i in range(0, len(padded), columns)]
    sheet = np.concatenate(rows)[..., ::-1]
    with atomic_write(out) as temporary:
        if not cv2.imwrite(str(temporary), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88]):
            raise InputError(f"{out}: could not be written")


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean over a twentieth of the steps around each."""
    half = len(values) // 40
    sums = np.concatenate([[0], np.cumsum(values)])
    positions = np.arange(len(values))
    low, high = np.maximum(positions - half, 0), np.minimum(positions + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _save(figure: Figure, out: Path) -> None:
    with atomic_write(out) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
