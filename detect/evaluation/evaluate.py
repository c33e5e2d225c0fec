"""All numbers of a set of detections and tubes, under one protocol or several."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ...datasets.files import InputError, more_rows, some_of
from ...datasets.tables import Detections, Tubes, Videos, select_rows
from .errors import frame_errors, mean_errors, video_errors
from .frames import ClassScores, FrameOverlaps, frame_overlaps, frame_scores
from .protocols import Protocol
from .tubes import TubeIndex, TubeOverlaps, score_tubes, tube_overlaps, video_scores

Array = np.ndarray

FRAME_THRESHOLDS = (0.3, 0.5, 0.75)
VIDEO_THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_AVERAGED = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one protocol says.

    Attributes:
        protocol: the rules.
        frame: one a threshold, rising; empty without detections.
        video: one a threshold, rising; empty without tubes.
        frame_errors, video_errors: percent of each kind by class, at `error_threshold`; empty
            without detections, or tubes.
        error_threshold: the IoU threshold of the errors.
    """

    protocol: Protocol
    frame: list[ClassScores]
    video: list[ClassScores]
    frame_errors: dict[str, dict[str, float]]
    video_errors: dict[str, dict[str, float]]
    error_threshold: float = 0.5

    def as_json(self) -> dict[str, Any]:
        """The object that `actiontubes evaluate --json` writes: all numbers in percent."""
        result: dict[str, Any] = {"protocol": self.protocol.name}
        for part, scores, errors in (
            ("frame", self.frame, self.frame_errors),
            ("video", self.video, self.video_errors),
        ):
            if scores:
                result[f"{part}_map"] = {f"{each.threshold:g}": each.mean for each in scores}
                result[f"{part}_ap"] = {f"{each.threshold:g}": each.ap for each in scores}
                result[f"{part}_errors"] = mean_errors(errors)
                result[f"{part}_errors_by_class"] = errors
        averaged = coco_average(self.video)
        if averaged is not None:
            result["video_map"]["0.5:0.95"] = averaged.mean
            result["video_ap"]["0.5:0.95"] = averaged.ap
        return result


def evaluate(
    ground_truth: Tubes,
    protocols: Sequence[Protocol],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    frame_thresholds: Sequence[float] = FRAME_THRESHOLDS,
    video_thresholds: Sequence[float] = VIDEO_THRESHOLDS,
    error_threshold: float = 0.5,
) -> list[Evaluation]:
    """Frame-mAP of detections and video-mAP of tubes.

    Args:
        ground_truth: its `video_names` are the videos evaluated, its `label_names` the classes.
        protocols: the rules, one result each.
        detections: boxes by frame, any method's, aligned to `ground_truth` (see `aligned`).
        tubes: boxes by tube with `tube_score`, aligned.
        frame_thresholds, video_thresholds: IoU thresholds, above 0 and at most 1.
        error_threshold: IoU threshold of the error decomposition.

    Warns:
        of classes without ground truth, which have no AP and are left out of the mean.
    """
    _warn_of_empty_classes(ground_truth, [table for table in (detections, tubes) if table])
    boxes: FrameOverlaps | None = None
    if detections is not None:
        lowest = min(*frame_thresholds, error_threshold)
        boxes = frame_overlaps(ground_truth, detections, protocols, lowest)
    overlaps: TubeOverlaps | None = None
    if tubes is not None:
        pixels = sorted({protocol.tube_pixels for protocol in protocols})
        overlaps = tube_overlaps(tubes, ground_truth, pixels)
        _warn_of_gaps(tubes, overlaps.index)
    results = []
    for protocol in protocols:
        frame, video = [], []
        frame_kinds, video_kinds = {}, {}
        if detections is not None and boxes is not None:
            frame = frame_scores(
                ground_truth, detections, protocol, sorted(frame_thresholds), boxes
            )
            frame_kinds = frame_errors(ground_truth, protocol, error_threshold, boxes)
        if tubes is not None:
            scored = score_tubes(ground_truth, tubes, protocol, overlaps)
            video = video_scores(ground_truth, tubes, protocol, sorted(video_thresholds), scored)
            video_kinds = video_errors(ground_truth, tubes, protocol, error_threshold, scored)
        results.append(
            Evaluation(protocol, frame, video, frame_kinds, video_kinds, error_threshold)
        )
    return results


def coco_average(video: Sequence[ClassScores]) -> ClassScores | None:
    """The mean over IoU 0.5, 0.55, ..., 0.95 of each class; None if one is not there.

    Its threshold is NaN and it has no curves.
    """
    found = [scores for scores in video if scores.threshold in _AVERAGED]
    if len(found) < len(_AVERAGED):
        return None
    ap: dict[str, float | None] = {}
    for name in found[0].ap:
        values = [scores.ap[name] for scores in found]
        ap[name] = None if None in values else float(np.mean(values))  # type: ignore[arg-type]
    return ClassScores(float("nan"), ap, {})


Table = TypeVar("Table", Detections, Tubes)


def aligned(table: Table, ground_truth: Tubes, source: str, videos: Videos | None = None) -> Table:
    """The table with its video and label numbers meaning the ground truth's names.

    Args:
        table: detections or tubes. A video may stand there under its file's stem alone, as `detect`
            names it: v_Biking_g01_c01 is Biking/v_Biking_g01_c01 where no other video ends so.
        ground_truth: gives the names: the videos and classes evaluated.
        source: the file's name, for messages.
        videos: their lengths, to find frames that cannot be.

    Returns:
        the table without the rows of videos or classes that are not evaluated.

    Warns:
        how many rows were left out, of which video or class.

    Raises:
        InputError: nothing is left, or a frame lies behind its video's end.
    """
    if not len(table):
        warnings.warn(
            f"{source}: is empty, so every ground truth box counts as missed", stacklevel=2
        )
    table = replace(table, video_names=_whole_names(table.video_names, ground_truth.video_names))
    video, video_known = _renamed(table.video, table.video_names, ground_truth.video_names)
    label, label_known = _renamed(table.label, table.label_names, ground_truth.label_names)
    for column, known, codes, names in (
        ("video", video_known, table.video, table.video_names),
        ("label", label_known, table.label, table.label_names),
    ):
        if not known.all():
            _report_unknown(column, known, codes, names, source, ground_truth)
    keep = video_known & label_known
    if videos is not None:
        lengths = dict(zip(videos.video, videos.num_frames.tolist()))
        limit = np.array([lengths.get(name, np.inf) for name in ground_truth.video_names])
        late = np.flatnonzero(keep & (table.frame >= limit[video]))
        if len(late):
            row = int(late[0])
            name = table.video_names[table.video[row]]
            raise InputError(
                f"{source}: row {row + 1}{more_rows(len(late))}: frame {table.frame[row]} of "
                f"{name}, which has only {lengths[name]} frames (0 to {lengths[name] - 1})"
            )
    renamed = replace(
        table,
        video=video,
        label=label,
        video_names=ground_truth.video_names,
        label_names=ground_truth.label_names,
    )
    return renamed if keep.all() else select_rows(renamed, keep)


def with_labels(ground_truth: Tubes, table: Detections | Tubes, source: str) -> Tubes:
    """The ground truth, its classes followed by those that only `table` has.

    Such a class has no AP; without it in the list, its rows could only be dropped.

    Raises:
        InputError: the two have no class in common.
    """
    used = [table.label_names[code] for code in np.unique(table.label)]
    known = set(ground_truth.label_names)
    extra = [name for name in used if name not in known]
    if used and len(extra) == len(used):
        raise InputError(
            f"{source}: none of its labels (such as {extra[0]!r}) is a class of the ground "
            f"truth, whose classes are {some_of(ground_truth.label_names, 5)}"
        )
    return replace(ground_truth, label_names=(*ground_truth.label_names, *extra))


def _whole_names(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names; one that is not known, but the last part of just one that is, becomes that."""
    ending: dict[str, list[str]] = {}
    for whole in known:
        ending.setdefault(whole.rpartition("/")[2], []).append(whole)
    given, exact = set(names), set(known)
    whole_of = {
        last: wholes[0]
        for last, wholes in ending.items()
        if len(wholes) == 1 and wholes[0] not in given
    }
    return tuple(name if name in exact else whole_of.get(name, name) for name in names)


def _renamed(
    codes: Array, names: tuple[str, ...], new_names: tuple[str, ...]
) -> tuple[Array, Array]:
    """Codes into `new_names`, and which of them those have."""
    place = {name: index for index, name in enumerate(new_names)}
    new = np.array([place.get(name, -1) for name in names] or [-1], np.int32)
    renamed = new[codes]
    return renamed, renamed >= 0


def _report_unknown(
    column: str,
    known: Array,
    codes: Array,
    names: tuple[str, ...],
    source: str,
    ground_truth: Tubes,
) -> None:
    row = int(np.argmin(known))
    unknown = len(np.unique(codes[~known]))
    evaluated = {"video": ground_truth.video_names, "label": ground_truth.label_names}[column]
    name = names[codes[row]]
    if not known.any():
        raise InputError(
            f"{source}: no row has a {column} that the ground truth knows; row {row + 1} has "
            f"{name!r}, the ground truth has {some_of(evaluated, 5)}"
        )
    warnings.warn(
        f"{source}: ignoring {int((~known).sum())} of {len(known)} rows whose {column} is not in "
        f"the ground truth ({unknown} different names; the first is {name!r} in row {row + 1})",
        stacklevel=3,
    )


def _warn_of_gaps(tubes: Tubes, index: TubeIndex) -> None:
    last = np.full(len(index.first), -1)
    np.maximum.at(last, index.of_row, tubes.frame)
    first = np.full(len(index.first), np.iinfo(np.int32).max)
    np.minimum.at(first, index.of_row, tubes.frame)
    gaps = np.flatnonzero(last - first + 1 > index.length)
    if len(gaps):
        warnings.warn(
            f"{len(gaps)} tubes have gaps (the first is tube "
            f"{tubes.tube[index.first[gaps[0]]]}); frames without a box count as not detected",
            stacklevel=3,
        )


def _warn_of_empty_classes(ground_truth: Tubes, tables: Sequence[Detections | Tubes]) -> None:
    counts = np.bincount(ground_truth.label, minlength=len(ground_truth.label_names))
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        names = ", ".join(ground_truth.label_names[code] for code in empty)
        rows = sum(int(np.isin(table.label, empty).sum()) for table in tables)
        warnings.warn(
            f"no ground truth for {names} ({rows} detections): these classes have no AP and "
            "are left out of the mean",
            stacklevel=3,
        )
