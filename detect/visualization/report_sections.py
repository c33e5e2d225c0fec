"""Sections of the report that are drawn from one evaluation: thresholds, confusion, timelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...datasets.tables import Detections, Tubes, Videos
from ..evaluation.analysis.confusion import confusion_matrix
from ..evaluation.analysis.linking_loss import count_linked
from ..evaluation.analysis.timelines import Span, Timeline, timelines
from ..evaluation.evaluate import Evaluation
from ..evaluation.frame_map import FrameOverlaps
from ..evaluation.score_thresholds import OperatingPoint, score_curve
from ..evaluation.summary import percent
from . import plots
from .page import Section

IOU = 0.5
_MAX_TIMELINES = 100
_PLOTTED_SCORES = np.round(np.arange(0, 1.001, 0.025), 3)


def threshold_section(evaluation: Evaluation) -> Section:
    """Precision, recall and F1 against the score, and the threshold to take for each class."""
    panels: dict[str, dict[str, np.ndarray]] = {}
    rows: dict[str, list[str]] = {}
    columns = ["class"]
    text = []
    for part, matches in evaluation.matches.items():
        things = "detections" if part == "frame" else "tubes"
        curve = score_curve(matches, IOU)
        best = curve.best()
        if best is None:
            continue
        points = [curve.at(float(score)) for score in _PLOTTED_SCORES]
        panels[f"{things}, best F1 at {best.threshold:.3f}"] = {
            name: np.array([_PLOTTED_SCORES, [getattr(each, name.lower()) for each in points]])
            for name in ("Precision", "Recall", "F1")
        }
        text.append(f"for {things} take {best.threshold:.3f} (precision {best.precision:.1f} %, "
                    f"recall {best.recall:.1f} %, F1 {best.f1:.1f} %)")  # fmt: skip
        columns += [f"{part} threshold", "precision", "recall", "F1"]
        for name, _, _ in matches.classes:
            rows.setdefault(name, []).extend(_cells(score_curve(matches, IOU, name).best()))
    return Section(
        "The score threshold to take, IoU 0.5",
        "Where one threshold must be chosen, that of the highest F1 finds much and is often right: "
        + "; ".join(text) + ". mAP needs none. Below, the best one of each class. It was chosen on "
        "these very videos, so on others it does a little worse.",
        (columns, [[name, *cells] for name, cells in rows.items()]) if panels else None,
        plot=plots.plot_curves(panels, "score threshold", "%") if panels else "",
    )  # fmt: skip


def confusion_section(overlaps: FrameOverlaps, evaluation: Evaluation) -> Section | None:
    """Which classes are taken for which, at the threshold of the best F1."""
    best = score_curve(evaluation.matches["frame"], IOU).best()
    if best is None:
        return None
    counts = confusion_matrix(overlaps, evaluation.protocol, IOU, best.threshold)
    names = [*overlaps.ground_truth.label_names]
    return Section(
        "Confusion of classes, IoU 0.5",
        f"Boxes that score at least {best.threshold:.3f}. Each ground truth box is counted once: "
        "as found, as taken for another class, or as missed. The last row are detections for which "
        "no ground truth is left.",
        plot=plots.plot_matrix(counts, [*names, "no one"], [*names, "missed"]),
    )  # fmt: skip


def linking_section(detections: Detections, tubes: Tubes) -> Section:
    """How many detections became how many tubes, and where the rest are."""
    linked = count_linked(detections, tubes)
    rows = [
        (name, f"{count:,}", f"{100 * count / max(len(detections), 1):.1f} %",
         "-" if (score := linked.median_scores[name]) is None else f"{score:.3f}")
        for name, count in linked.counts.items()
    ]  # fmt: skip
    return Section(
        "From detections to tubes",
        f"{len(detections):,} detections became {linked.num_tubes:,} tubes of {linked.num_boxes:,} "
        f"boxes; {linked.num_filled:,} of these have no detection of their class near (IoU 0.5) "
        "and were filled in by the linker or belong to other detections. A detection outside all "
        "tubes was too weak, too short-lived or too far from a tube for the linker.",
        (("where a detection is", "detections", "share", "median score"), rows),
    )


def timeline_section(
    ground_truth: Tubes, tubes: Tubes, evaluation: Evaluation, videos: Videos | None
) -> Section | None:
    """Truth against tubes, a timeline for each video."""
    best = score_curve(evaluation.matches["video"], IOU).best()
    if best is None:
        return None
    found = timelines(ground_truth, tubes, evaluation.protocol, IOU, best.threshold, videos)
    rates = {} if videos is None else dict(zip(videos.video, videos.fps.tolist()))
    left_out = len(found) - _MAX_TIMELINES
    return Section(
        "Truth against tubes on a timeline, IoU 0.5",
        "High bars: ground truth, blue where a tube matches it and orange where none does. Low "
        f"bars: tubes that score at least {best.threshold:.3f}, green where they match and gray "
        "where they do not. Videos with the most errors first"
        + (f"; {left_out:,} with fewer are left out." if left_out > 0 else "."),
        timelines=[draw_timeline(each, rates.get(each.video, np.nan))
                   for each in found[:_MAX_TIMELINES]],
    )  # fmt: skip


def draw_timeline(timeline: Timeline, fps: float) -> dict[str, Any]:
    """What the page's template needs: lanes of bars that do not overlap, in percent of the video.

    Args:
        timeline: of a video.
        fps: its frames per second; NaN where unknown.
    """
    scale = 100 / timeline.num_frames
    text = f"{timeline.num_frames} frames"
    if fps > 0:
        text += f", {timeline.num_frames / fps:.1f} s"

    def bar(span: Span) -> dict[str, Any]:
        is_tube = span.score is not None
        hit, other = (plots.GREEN, "#8b93a1") if is_tube else (plots.BLUE, plots.ORANGE)
        name = span.label if span.score is None else f"{span.label} {span.score:.2f}"
        return {
            "left": round(scale * span.first_frame, 2),
            "width": round(scale * (span.last_frame + 1 - span.first_frame), 2),
            "color": hit if span.is_match else other, "text": name, "found": is_tube,
            "title": f"{name}, frames {span.first_frame} to {span.last_frame}",
        }  # fmt: skip

    lanes = [[bar(span) for span in lane]
             for spans in (timeline.truth, timeline.tubes) for lane in _lanes(spans)]  # fmt: skip
    return {"video": timeline.video, "text": text, "lanes": lanes}


def _lanes(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans in as few lanes as possible, those of a lane one after the other."""
    lanes: list[list[Span]] = []
    for span in sorted(spans, key=lambda each: each.first_frame):
        free = (lane for lane in lanes if lane[-1].last_frame < span.first_frame)
        lane = next(free, None)
        if lane is None:
            lanes.append([span])
        else:
            lane.append(span)
    return lanes


def comparison_section(evaluation: Evaluation, other: Evaluation) -> Section:
    """This run beside another one; with intervals where the evaluation has differences."""
    columns = ["", "this", "other", "difference"]
    rows = []
    for part, means in evaluation.means.items():
        for name, mean in means.items():
            theirs = other.means.get(part, {}).get(name)
            if mean is None or theirs is None:
                continue
            row = [f"{part}-mAP @ {name}", percent(mean), percent(theirs), f"{mean - theirs:+.2f}"]
            found = evaluation.differences.get(part, {}).get(name)
            if found is not None:
                row += [f"[{found.interval.low:+.2f}, {found.interval.high:+.2f}]",
                        f"{100 * found.sign_differs:.1f} %"]  # fmt: skip
            rows.append(row)
    if evaluation.differences:
        columns += ["95 % interval", "sign differs"]
    return Section(
        "Beside the other run",
        f"Both under protocol {evaluation.protocol.name}, in percent. Interval and the share of "
        "resamples in which the sign differs come from the same resamples of the videos for both.",
        (columns, rows),
    )


def _cells(point: OperatingPoint | None) -> list[str]:
    if point is None:
        return ["-"] * 4
    values = (point.precision, point.recall, point.f1)
    return [f"{point.threshold:.3f}", *(f"{value:.1f}" for value in values)]
