"""An HTML page that shows where a detector fails."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...datasets.box_coordinates import rescale_boxes, xyxy_to_xywh
from ...datasets.tables import Detections, Tubes, Videos
from ...datasets.video.media import locate_videos, read_frame
from ..evaluation.average_precision import ClassAP
from ..evaluation.error_analysis import ERROR_KINDS, mean_errors
from ..evaluation.evaluate import FRAME_THRESHOLDS, VIDEO_THRESHOLDS, Evaluation, evaluate_tables
from ..evaluation.frame_map import frame_overlaps
from ..evaluation.protocols import PROTOCOLS, Protocol
from ..evaluation.summary import mean_rows, percent, scores_at
from ..evaluation.worst_examples import WorstExample, worst_false_positives, worst_misses
from . import plots
from .page import Section, write_page

_ERROR_COLORS = dict(zip(
    ERROR_KINDS, (plots.GREEN, plots.ORANGE, plots.PURPLE, plots.BLUE, plots.SKY, plots.GRAY)
))  # fmt: skip
_ERROR_TEXT = (
    "AP, the shares of the false positives of each kind, and what was missed add up to 100. "
    "Localisation: ground truth of the class is on the frame, but the box does not match it or is "
    "a duplicate. Classification: the box overlaps an action of another class. Timing: the action "
    "is in the video, but not at this time. Other: all the rest."
)
_TILES = ("frame-mAP @ 0.5", "video-mAP @ 0.2", "video-mAP @ 0.5", "video-mAP @ 0.5:0.95")
_COMPARED = [
    f"{part}-mAP @ {threshold}"
    for part, thresholds in (("frame", "0.3 0.5 0.75 0.5:0.95"),
                             ("video", "0.1 0.2 0.3 0.5 0.75 0.5:0.95"))
    for threshold in thresholds.split()
]  # fmt: skip
_THRESHOLDS = sorted({*FRAME_THRESHOLDS, *VIDEO_THRESHOLDS})
_NUM_EXAMPLES = 12


def write_report(
    folder: Path,
    ground_truth: Tubes,
    protocols: Sequence[Protocol] = PROTOCOLS[:1],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    media: Path | None = None,
    videos: Videos | None = None,
    first_sections: Sequence[Section] = (),
) -> Path:
    """Evaluates under all protocols and writes index.html.

    Args:
        folder: created if necessary.
        ground_truth: labelled tubes.
        protocols: these come first, then the other ones; the first one's results are shown in
            detail.
        detections, tubes: aligned with the ground truth, at least one of them.
        media: a folder with the videos or their frames, to show examples.
        videos: the frame sizes that boxes refer to, where the media have other sizes.
        first_sections: sections before all others.

    Returns:
        The path of the page.
    """
    others = [each for each in PROTOCOLS if each.name not in {chosen.name for chosen in protocols}]
    results = evaluate_tables(
        ground_truth, [*protocols, *others], detections, tubes, _THRESHOLDS, _THRESHOLDS
    )
    main = results[0]
    by_class = scores_at(main, 0.5)
    means = mean_rows(results)
    compared = [[name, *map(percent, means[name])] for name in _COMPARED if name in means]
    sections = [
        *first_sections,
        Section(
            "Protocols side by side",
            "The same detections and tubes under the rules of four public evaluators, in percent. "
            "Only numbers of the same column can be compared.",
            (["", *(each.protocol.name for each in results)], compared),
            highlight=True,
        ),
        Section("Average precision by class, IoU 0.5", plot=_plot_class_ap(by_class)),
    ]
    for part, errors in (("Frame", main.frame_errors), ("Tube", main.video_errors)):
        if errors:
            title = f"{part} errors by class, IoU 0.5"
            sections.append(Section(title, _ERROR_TEXT, plot=_plot_errors(errors)))
    sections += [
        Section("mAP against IoU threshold", plot=_plot_thresholds(results)),
        Section("Precision and recall by class, IoU 0.5", plot=_plot_recall(by_class)),
    ]
    counts = [
        f"{len(ground_truth.video_names):,} videos",
        f"{len(np.unique(ground_truth.tube)):,} action instances",
        f"{len(ground_truth.label_names)} classes",
        f"{len(ground_truth):,} ground truth boxes",
    ]
    if detections is not None:
        sections += _worst_examples(ground_truth, detections, main, media, videos)
        counts.append(f"{len(detections):,} detections")
    if tubes is not None:
        counts.append(f"{len(np.unique(tubes.tube)):,} tubes")
    tiles = [(name, means[name][0]) for name in _TILES if name in means]
    return write_page(
        folder / "index.html",
        "Action detection report",
        f"Protocol {main.protocol.name}: {', '.join(counts)}.",
        sections,
        tiles=[(f"{mean:.1f}", name) for name, mean in tiles if mean is not None],
    )


def _plot_class_ap(by_class: Mapping[str, ClassAP]) -> str:
    columns = [scores.ap for scores in by_class.values()]
    labels = sorted(columns[0], key=lambda label: columns[0][label] or 0.0, reverse=True)
    rows = {label: [ap[label] for ap in columns] for label in labels}
    return plots.plot_grouped_bars(rows, [f"{part} AP" for part in by_class], "AP, %")


def _plot_errors(by_class: dict[str, dict[str, float]]) -> str:
    labels = sorted(by_class, key=lambda label: -by_class[label]["ap"])
    rows: dict[str, Mapping[str, float | None]] = {"mean": mean_errors(by_class)}
    rows |= {label: by_class[label] for label in labels}
    return plots.plot_stacked_bars(rows, _ERROR_COLORS, "share, %")


def _plot_thresholds(results: Sequence[Evaluation]) -> str:
    panels: dict[str, dict[str, np.ndarray]] = {}
    for each in results:
        for part, scores in each.scores.items():
            points = [(one.threshold, one.mean) for one in scores if one.mean is not None]
            if points:
                panels.setdefault(f"{part}-mAP", {})[each.protocol.name] = np.transpose(points)
    return plots.plot_curves(panels, "IoU threshold", "mAP, %") if panels else ""


def _plot_recall(by_class: Mapping[str, ClassAP]) -> str:
    panels: dict[str, dict[str, np.ndarray]] = {}
    for part, scores in by_class.items():
        for label, (precision, recall) in scores.curves.items():
            curve = 100 * np.array([np.append(0, recall), np.append(1, precision)])
            panels.setdefault(label, {})[part] = curve
    return plots.plot_small_curves(panels, "recall, %", "precision, %") if panels else ""


def _worst_examples(
    ground_truth: Tubes,
    detections: Detections,
    main: Evaluation,
    media: Path | None,
    videos: Videos | None,
) -> list[Section]:
    """The worst mistakes: with their frames where these are available, otherwise as tables."""
    names = ground_truth.video_names
    paths = {} if media is None else locate_videos(media, names)
    protocol, threshold = main.protocol, main.error_threshold
    overlaps = frame_overlaps(ground_truth, detections, [protocol], threshold)
    sizes = {} if videos is None else dict(zip(videos.video, zip(videos.width, videos.height)))
    sections = []
    for title, find, colors, text in (
        ("Worst false positives", worst_false_positives, (plots.RED, plots.GREEN),
         "The highest scores, one for each video and class. Solid: the detection; dashed: ground "
         "truth."),
        ("Worst misses", worst_misses, (plots.GREEN, plots.RED),
         "The action instances detected on the smallest share of their frames. Solid: ground "
         "truth; dashed: detections of its class."),
    ):  # fmt: skip
        examples = find(overlaps, protocol, threshold, set(paths or names), _NUM_EXAMPLES)
        if paths:
            frames = ((each, read_frame(paths[each.video], each.frame)) for each in examples)
            images = [
                draw_example(frame, each, sizes.get(each.video), colors)
                for each, frame in frames
                if frame is not None
            ]
            section = Section(title, text, images=images)
        else:
            rows = [(each.title, each.error, each.video, each.frame) for each in examples]
            section = Section(title, text, (("class", "kind", "video", "frame"), rows))
        sections += [section] if examples else []
    return sections


def draw_example(
    frame: np.ndarray,
    example: WorstExample,
    size: tuple[int, int] | None,
    colors: tuple[str, str],
) -> dict[str, Any]:
    """A frame as a JPEG, and the boxes to draw on it, for the page's template.

    Args:
        frame: (H, W, 3) uint8 RGB.
        example: its boxes.
        size: width and height of the video that the boxes refer to; None: those of `frame`.
        colors: of the box in question, and of the other boxes.

    Returns:
        example, width, height, jpeg (base64), line (width of the lines), and boxes: for each x, y,
        width and height in pixels of the frame, its color, and whether it is dashed.
    """
    height, width = frame.shape[:2]
    encoded, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert encoded
    boxes = np.vstack([example.box, example.other_boxes])
    boxes = xyxy_to_xywh(rescale_boxes(boxes, size or (width, height), (width, height)))
    return {
        "example": example,
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(jpeg.tobytes()).decode(),
        "line": round(max(width, height) / 160, 1),
        "boxes": [(box, colors[i > 0], i > 0) for i, box in enumerate(boxes.round(1).tolist())],
    }
