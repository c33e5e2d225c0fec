"""An HTML page that shows where a detector fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...datasets.tables import Detections, Tubes, Videos
from ..evaluation.average_precision import ClassAP
from ..evaluation.error_analysis import ERROR_KINDS, mean_errors
from ..evaluation.evaluate import FRAME_THRESHOLDS, VIDEO_THRESHOLDS, Evaluation, evaluate_tables
from ..evaluation.frame_map import frame_overlaps
from ..evaluation.protocols import PROTOCOLS, Protocol
from ..evaluation.summary import mean_rows, percent, scores_at
from . import plots
from .page import Section, write_page
from .report_examples import worst_example_sections
from .report_sections import (
    comparison_section,
    confusion_section,
    linking_section,
    threshold_section,
    timeline_section,
)

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


def write_report(
    folder: Path,
    ground_truth: Tubes,
    protocols: Sequence[Protocol] = PROTOCOLS[:1],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    media: Path | None = None,
    videos: Videos | None = None,
    first_sections: Sequence[Section] = (),
    details: Sequence[tuple[str, str]] = (),
    runs: tuple[Evaluation, Evaluation] | None = None,
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
        details: what the page's head says of the run, such as its command and files.
        runs: this run, perhaps with differences, and another one, to show beside it.

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
        *([comparison_section(*runs)] if runs is not None else []),
        Section(
            "Average precision by class, IoU 0.5",
            "In brackets: the number of ground truth boxes and tubes.",
            plot=_plot_class_ap(
                by_class, ground_truth, scores_at(runs[1], 0.5) if runs is not None else {}
            ),
        ),
    ]
    for part, errors in (("Frame", main.frame_errors), ("Tube", main.video_errors)):
        if errors:
            title = f"{part} errors by class, IoU 0.5"
            sections.append(Section(title, _ERROR_TEXT, plot=_plot_errors(errors)))
    sections += [
        Section("mAP against IoU threshold", plot=_plot_thresholds(results)),
        Section("Precision and recall by class, IoU 0.5", plot=_plot_recall(by_class)),
        threshold_section(main),
    ]
    if detections is not None:
        overlaps = frame_overlaps(ground_truth, detections, [main.protocol], main.error_threshold)
        confusion = confusion_section(overlaps, main)
        sections += [confusion] if confusion is not None else []
    if detections is not None and tubes is not None:
        sections.append(linking_section(detections, tubes))
    if tubes is not None:
        timeline = timeline_section(ground_truth, tubes, main, videos)
        sections += [timeline] if timeline is not None else []
    counts = [
        f"{len(ground_truth.video_names):,} videos",
        f"{len(np.unique(ground_truth.tube)):,} action instances",
        f"{len(ground_truth.label_names)} classes",
        f"{len(ground_truth):,} ground truth boxes",
    ]
    if detections is not None:
        sections += worst_example_sections(overlaps, main, media, videos)
        counts.append(f"{len(detections):,} detections")
    if tubes is not None:
        counts.append(f"{len(np.unique(tubes.tube)):,} tubes")
    tiles = [(name, means[name][0]) for name in _TILES if name in means]
    return write_page(
        folder / "index.html",
        "Action detection report",
        f"Protocol {main.protocol.name}: {', '.join(counts)}.",
        sections,
        details=details,
        tiles=[(f"{mean:.1f}", name) for name, mean in tiles if mean is not None],
    )


def _plot_class_ap(
    by_class: Mapping[str, ClassAP], ground_truth: Tubes, other: Mapping[str, ClassAP]
) -> str:
    columns = {f"{part} AP": scores.ap for part, scores in by_class.items()}
    columns |= {f"{part} AP, other run": other[part].ap for part in by_class if part in other}
    first = next(iter(columns.values()))
    num_boxes = np.bincount(ground_truth.label, minlength=len(ground_truth.label_names))
    _, first_row = np.unique(ground_truth.tube, return_index=True)
    num_tubes = np.bincount(ground_truth.label[first_row], minlength=len(num_boxes))
    counts = dict(zip(ground_truth.label_names, zip(num_boxes, num_tubes)))
    rows = {}
    for label in sorted(first, key=lambda label: first[label] or 0.0, reverse=True):
        boxes, instances = counts[label]
        rows[f"{label} ({boxes:,}, {instances:,})"] = [ap.get(label) for ap in columns.values()]
    return plots.plot_grouped_bars(rows, list(columns), "AP, %")


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
