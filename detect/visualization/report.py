"""One HTML page that shows where a detector fails."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...datasets.tables import Detections, Tubes, Videos
from ...datasets.video.media import locate_videos, read_frame
from ..evaluation.error_analysis import ERROR_KINDS, mean_errors
from ..evaluation.evaluate import FRAME_THRESHOLDS, VIDEO_THRESHOLDS, Evaluation, evaluate
from ..evaluation.frame_map import ClassAP, frame_overlaps
from ..evaluation.protocols import PROTOCOLS, Protocol
from ..evaluation.summary import mean_rows, percent, scores_at
from ..evaluation.worst_examples import WorstExample, worst_false_positives, worst_misses
from .page import Section, Table, write_page
from .plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    plot_curves,
    plot_grouped_bars,
    plot_stacked_bars,
)

_COLOURS = dict(zip(ERROR_KINDS, (GREEN, ORANGE, PURPLE, BLUE, SKY, GREY)))
_MEANING = (
    "AP, the false positives by kind and what was never found add to 100. Localisation: the right "
    "class is there, but the box is off or a duplicate. Classification: on an action of another "
    "class. Timing: the video has the action, but not then. Other: elsewhere."
)
_TILES = ("frame-mAP @ 0.5", "video-mAP @ 0.2", "video-mAP @ 0.5", "video-mAP @ 0.5:0.95")
_COMPARED = [
    f"{part}-mAP @ {threshold}"
    for part, thresholds in (("frame", "0.3 0.5 0.75 0.5:0.95"),
                             ("video", "0.1 0.2 0.3 0.5 0.75 0.5:0.95"))
    for threshold in thresholds.split()
]  # fmt: skip
_MISTAKES = (
    ("Worst false positives", worst_false_positives, (RED, GREEN),
     "Highest scores first, one a video and class. The detection is solid, ground truth dashed."),
    ("Worst misses", worst_misses, (GREEN, RED),
     "Action instances found on the fewest frames. Ground truth is solid, detections of its class "
     "dashed."),
)  # fmt: skip
_SHOWN = 12


def report_on(
    folder: Path,
    ground_truth: Tubes,
    chosen: Sequence[Protocol] = PROTOCOLS[:1],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    media: Path | None = None,
    videos: Videos | None = None,
    more: Mapping[str, tuple[Table, str]] | None = None,
) -> Path:
    """Evaluates by all protocols, the chosen ones first, at all thresholds, and writes the report.

    Args:
        others: see `write_report`.
    """
    rest = [each for each in PROTOCOLS if each.name not in {one.name for one in chosen}]
    dense = sorted({*FRAME_THRESHOLDS, *VIDEO_THRESHOLDS})
    results = evaluate(ground_truth, [*chosen, *rest], detections, tubes, dense, dense)
    return write_report(folder, ground_truth, results, detections, tubes, media, videos, more)


def write_report(
    folder: Path,
    ground_truth: Tubes,
    results: Sequence[Evaluation],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    media: Path | None = None,
    videos: Videos | None = None,
    more: Mapping[str, tuple[Table, str]] | None = None,
) -> Path:
    """Writes index.html.

    Args:
        folder: made if need be.
        ground_truth: what was evaluated on.
        results: of the protocol to show first, then of others to set beside it.
        detections, tubes: what was evaluated, aligned.
        media: a folder with the videos or their frames, for pictures.
        videos: sizes that the boxes' pixels mean, where the media have others.
        more: sections before all others: by title, a table and a paragraph of text.

    Returns:
        the page's path.
    """
    main = results[0]
    at_half = scores_at(main, 0.5)
    means = mean_rows(results)
    compared = [[name, *map(percent, means[name])] for name in _COMPARED if name in means]
    sections = [Section(title, text, table) for title, (table, text) in (more or {}).items()]
    sections.append(
        Section(
            "Protocols side by side",
            "The same detections and tubes by four public evaluators' rules, in percent. Compare "
            "numbers of one column only.",
            (["", *(each.protocol.name for each in results)], compared),
            marked=True,
        )
    )
    if at_half:
        sections.append(Section("Average precision by class, IoU 0.5", chart=_class_bars(at_half)))
    for name, errors in (("frames", main.frame_errors), ("tubes", main.video_errors)):
        if errors:
            chart = _error_bars(errors)
            sections.append(Section(f"Errors of {name}, IoU 0.5", _MEANING, chart=chart))
    sections.append(Section("mAP against IoU threshold", chart=_threshold_curves(results)))
    if at_half:
        chart = _recall_curves(at_half)
        sections.append(Section("Precision and recall by class, IoU 0.5", chart=chart))
    if detections is not None:
        sections += _mistakes(ground_truth, detections, main, media, videos)
    boxes = "" if detections is None else f", {len(detections):,} detections"
    tube_count = "" if tubes is None else f", {len(np.unique(tubes.tube)):,} tubes"
    return write_page(
        folder / "index.html",
        "Action detection report",
        f"Protocol {main.protocol.name}. {len(ground_truth.video_names):,} videos with "
        f"{len(np.unique(ground_truth.tube)):,} action instances of "
        f"{len(ground_truth.label_names)} classes, {len(ground_truth):,} boxes{boxes}{tube_count}.",
        sections,
        tiles=[
            (f"{mean:.1f}", name)
            for name in _TILES
            if (mean := means.get(name, [None])[0]) is not None
        ],
    )


def _class_bars(at_half: Mapping[str, ClassAP]) -> str:
    all_ap = [scores.ap for scores in at_half.values()]
    order = sorted(all_ap[0], key=lambda label: all_ap[0][label] or 0.0, reverse=True)
    rows = {label: [ap[label] for ap in all_ap] for label in order}
    return plot_grouped_bars(rows, [f"{part} AP" for part in at_half], "AP, %")


def _error_bars(by_class: dict[str, dict[str, float]]) -> str:
    rows: dict[str, Mapping[str, float | None]] = {"mean": mean_errors(by_class)}
    rows |= {x: by_class[x] for x in sorted(by_class, key=lambda x: -by_class[x]["ap"])}
    return plot_stacked_bars(rows, _COLOURS, "share, %")


def _threshold_curves(results: Sequence[Evaluation]) -> str:
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for each in results:
        for part, scores in (("frame", each.frame), ("video", each.video)):
            points = [(one.threshold, one.mean) for one in scores if one.mean is not None]
            if points:
                x, y = map(list, zip(*points))
                panels.setdefault(f"{part}-mAP", {})[each.protocol.name] = (x, y)
    return plot_curves(panels, "IoU threshold", "mAP, %", marker="o") if panels else ""


def _recall_curves(at_half: Mapping[str, ClassAP]) -> str:
    panels: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for part, scores in at_half.items():
        for label, (precision, recall) in scores.curves.items():
            curve = (100 * np.append(0, recall), 100 * np.append(1, precision))
            panels.setdefault(label, {})[part] = curve
    return plot_curves(panels, "recall, %", "precision, %", columns=6, x_max=100) if panels else ""


def _mistakes(
    ground_truth: Tubes,
    detections: Detections,
    main: Evaluation,
    media: Path | None,
    videos: Videos | None,
) -> list[Section]:
    """The worst mistakes: as pictures where there are any, else as a table."""
    names = ground_truth.video_names
    found = locate_videos(media, names) if media is not None else {}
    protocol, threshold = main.protocol, main.error_threshold
    overlaps = frame_overlaps(ground_truth, detections, [protocol], threshold)
    among = set(found) or set(names)
    sizes = {}
    if videos is not None:
        sizes = dict(zip(videos.video, zip(videos.width.tolist(), videos.height.tolist())))
    sections = []
    for title, find, colours, text in _MISTAKES:
        examples = find(ground_truth, protocol, threshold, overlaps, among, _SHOWN)
        if examples and found:
            pictures = _pictures(examples, found, sizes, colours)
            sections.append(Section(title, text, pictures=pictures))
        elif examples:
            rows = [(each.what, each.why, each.video, each.frame) for each in examples]
            sections.append(Section(title, text, (("class", "kind", "video", "frame"), rows)))
    return sections


def _pictures(
    examples: Sequence[WorstExample],
    found: Mapping[str, Path],
    sizes: Mapping[str, tuple[int, int]],
    colours: tuple[str, str],
) -> list[tuple[WorstExample, dict[str, Any]]]:
    """What could be read, each with its boxes."""
    pictures = []
    for example in examples:
        frame = read_frame(found[example.video], example.frame)
        if frame is not None:
            height, width = frame.shape[:2]
            wide, high = sizes.get(example.video, (width, height))
            scale = (width / wide, height / high)
            pictures.append((example, draw_example(frame, example, scale, colours)))
    return pictures


def draw_example(
    frame: np.ndarray, example: WorstExample, scale: tuple[float, float], colours: tuple[str, str]
) -> dict[str, Any]:
    """The frame as a JPEG, and the boxes to draw on it.

    Args:
        frame: (H, W, 3) uint8 RGB.
        example: what to draw.
        scale: pixels of the frame for each of the boxes', across and down.
        colours: of the box in question, and of the others.

    Returns:
        width, height, jpeg (base64), line (the width of lines), and boxes: for each x, y, width
        and height in pixels, its colour, and whether it is dashed.
    """
    height, width = frame.shape[:2]
    done, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    boxes = np.vstack([example.wrong, example.truth]) * (*scale, *scale)
    boxes[:, 2:] -= boxes[:, :2]
    return {
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(jpeg.tobytes()).decode(),
        "line": round(max(width, height) / 160, 1),
        "boxes": [
            (box, colours[min(i, 1)], i > 0) for i, box in enumerate(boxes.round(1).tolist())
        ],
    }
