"""How far a mAP may be off: confidence intervals by resampling the videos.

The bootstrap (Efron & Tibshirani 1993) draws as many videos as there are, with replacement, and
evaluates the draw; the spread of its mAP over many draws is that of mAP over other videos of the
same kind. Frames of one video are alike, so videos are drawn and never single frames.

The interval is the basic one: what the resamples are above the evaluation, the evaluation is taken
to be above the truth. A small set's mAP is too high on average, and a resample's is too high again,
so that the bare percentiles of the resamples would lie too high twice over (docs/confidence.md has
how often each covers the truth).

Nothing is matched again: a video that is drawn twice brings each of its detections and ground
truths twice, so that every number is a weighted sum over the matches of the evaluation. Copies of a
detection stand together in the ranking.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...datasets.errors import InputError
from .average_precision import AVERAGED_THRESHOLDS, APMethod, RankedMatches

if TYPE_CHECKING:
    from .evaluate import Evaluation

NUM_RESAMPLES = 1000
_FEW_VIDEOS = 20
LEVEL = 95
"""How often an interval should cover the truth, in percent."""
# How many numbers of an array of (runs, resamples) are computed at a time, to stay in the cache.
_CHUNK = 200_000


@dataclass(frozen=True)
class Interval:
    """A number's confidence interval of `LEVEL` percent.

    Attributes:
        low, high: in percent of mAP.
    """

    low: float
    high: float

    def within(self, least: float, most: float) -> Interval:
        """The part of it that is possible."""
        return Interval(max(self.low, least), min(self.high, most))

    def as_json(self) -> list[float]:
        """For the object that `actiontubes evaluate --json` writes."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Difference:
    """How much better one method is than another on the same videos.

    Attributes:
        other: the other method's mAP in percent.
        difference: this method's mAP minus the other's.
        interval: of the difference, over resamples that are the same for both.
        sign_differs: the share of the resamples, 0..1, in which the difference is 0 or has the
            other sign.
    """

    other: float
    difference: float
    interval: Interval
    sign_differs: float

    def as_json(self) -> dict[str, Any]:
        """For the object that `actiontubes evaluate --json` writes."""
        return {
            "other": self.other, "difference": self.difference,
            "interval": self.interval.as_json(), "sign_differs": self.sign_differs,
        }  # fmt: skip


def resample_videos(num_videos: int, count: int = NUM_RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draws videos with replacement.

    Args:
        num_videos: V, and how many are drawn for each resample.
        count: B, the number of resamples.
        seed: of the generator; the same seed draws the same videos.

    Returns:
        (B, V) int32, how often each video is drawn.

    Raises:
        InputError: no resamples, or a single video.
    """
    if count < 1:
        raise InputError(f"--bootstrap {count}: must be at least 1; 1000 is usual")
    if num_videos < 2:
        raise InputError("--bootstrap: needs two videos or more, to resample them; this is one")
    if num_videos < _FEW_VIDEOS:
        warnings.warn(f"--bootstrap: intervals from {num_videos} videos are rough", stacklevel=2)
    draws = np.random.default_rng(seed).multinomial(
        num_videos, np.full(num_videos, 1 / num_videos), count
    )
    return draws.astype(np.int32)


def add_intervals(
    evaluations: Sequence[Evaluation], draws: np.ndarray, others: Sequence[Evaluation] = ()
) -> list[Evaluation]:
    """Evaluations with the confidence interval of every mAP.

    Args:
        evaluations: by any protocols, of the same videos.
        draws: (B, V) from `resample_videos`.
        others: the same protocols' evaluations of another method, for the differences; or none.
    """
    from tqdm import tqdm

    result = []
    number = sum(len(ranked.hits) for each in (*evaluations, *others)
                 for ranked in each.matches.values())  # fmt: skip
    with tqdm(total=number, desc="bootstrap", unit=" mAP", delay=2, leave=False) as bar:
        for index, each in enumerate(evaluations):
            other = others[index] if others else None
            values = resample_means(each.matches, draws, bar)
            other_values = {} if other is None else resample_means(other.matches, draws, bar)
            intervals: dict[str, dict[str, Interval]] = {}
            differences: dict[str, dict[str, Difference]] = {}
            for part, by_threshold in values.items():
                # Without any ground truth there is no mAP, and nothing to be unsure of.
                means = {name: mean for name, mean in each.means[part].items() if mean is not None}
                intervals[part] = {
                    name: interval(mean, by_threshold[name]).within(0, 100)
                    for name, mean in means.items()
                }
                if other is None or part not in other_values:
                    continue
                differences[part] = {
                    name: compare(
                        mean, other.means[part][name] or 0.0,
                        by_threshold[name], other_values[part][name],
                    )
                    for name, mean in means.items()
                }  # fmt: skip
            result.append(
                replace(
                    each, num_resamples=len(draws), intervals=intervals, differences=differences
                )
            )
    return result


def resample_means(
    matches: Mapping[str, RankedMatches], draws: np.ndarray, bar: Any = None
) -> dict[str, dict[str, np.ndarray]]:
    """The mAP of each resample.

    A class without ground truth in a resample is left out of that resample's mean, as it is where
    the whole data set has none.

    Args:
        matches: of an `Evaluation`.
        draws: (B, V) from `resample_videos`.
        bar: a progress bar, updated at each mAP.

    Returns:
        by "frame" or "video", then by IoU threshold as it is printed, such as "0.5" or "0.5:0.95":
        (B,) float64, percent, NaN where no class has ground truth.
    """
    values: dict[str, dict[str, np.ndarray]] = {}
    for part, ranked in matches.items():
        positives = _resampled_positives(ranked, draws)
        num_classes = (positives > 0).sum(axis=0)
        means = values.setdefault(part, {})
        averaged = []
        for threshold, hits in ranked.hits.items():
            total = 100 * _resampled_ap(ranked, hits, positives, draws).sum(axis=0)
            mean = np.full(len(draws), np.nan)
            np.divide(total, num_classes, out=mean, where=num_classes > 0)
            means[f"{threshold:g}"] = mean
            if threshold in AVERAGED_THRESHOLDS:
                averaged.append(mean)
            if bar is not None:
                bar.update()
        if len(averaged) == len(AVERAGED_THRESHOLDS):
            means["0.5:0.95"] = np.mean(averaged, axis=0)
    return values


def interval(mean: float, values: np.ndarray) -> Interval:
    """The basic bootstrap interval (Davison & Hinkley 1997, 5.2): reflected percentiles.

    Args:
        mean: on all videos.
        values: (B,) on the resamples; those that are NaN are left out.
    """
    tail = (100 - LEVEL) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(2 * mean - float(high), 2 * mean - float(low))


def compare(mean: float, other: float, values: np.ndarray, other_values: np.ndarray) -> Difference:
    """Compares two methods on the same videos.

    Args:
        mean, other: mAP of the two methods on all videos, percent.
        values, other_values: (B,) theirs on the same resamples, perhaps with NaN.
    """
    differences = values - other_values
    known = differences[~np.isnan(differences)]
    differs = (np.sign(known) != np.sign(mean - other)) | (known == 0)
    return Difference(other, mean - other, interval(mean - other, known), float(differs.mean()))


def _resampled_positives(matches: RankedMatches, draws: np.ndarray) -> np.ndarray:
    """(C, B) number of ground truths of each of `matches.classes`."""
    codes = {name: code for code, name in enumerate(matches.label_names)}
    num_videos = len(matches.video_names)
    by_class = [
        np.bincount(matches.truth_video[matches.truth_label == codes[name]], minlength=num_videos)
        for name, _, _ in matches.classes
    ]
    return np.reshape(by_class, (len(by_class), num_videos)).astype(np.int32) @ draws.T


def _resampled_ap(
    matches: RankedMatches, hits: np.ndarray, positives: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """(C, B) AP in 0..1 of each class, at one IoU threshold; 0 without ground truth."""
    result = np.zeros(positives.shape)
    weights = np.ascontiguousarray(draws.T)
    for row, (_, rows, _) in enumerate(matches.classes):
        area = _weighted_area(hits[rows], matches.video[rows], weights, matches.method)
        total = positives[row] + matches.epsilon
        np.divide(area, total, out=result[row], where=positives[row] > 0)
    return result


def _weighted_area(
    hits: np.ndarray, video: np.ndarray, weights: np.ndarray, method: APMethod
) -> np.ndarray:
    """AP times the number of ground truths, of one class.

    Between two false detections lies a run of hits, whose weights add up: only runs are looked at.
    Recall grows in steps of 1 / P within a run of weight w, and precision after step i is
    (h + i) / (n + i), h hits and n detections before it, f of them false. Under the envelope a step
    counts the best precision at the end of this or a later run. Under straight lines it counts the
    mean of the precision before and after it, and over the run these add up to

        w - f (H(n + w) - H(n)) + f (1 / (n + w) - 1 / n) / 2

    with the harmonic numbers H, since (h + i) / (n + i) = 1 - f / (n + i).

    Args:
        hits: (D,) bool, best score first.
        video: (D,) of each detection.
        weights: (V, B) how often each video counts.
        method: the area.

    Returns:
        (B,) float64.
    """
    num_resamples = weights.shape[1]
    last = np.flatnonzero(hits)
    if not len(last):
        return np.zeros(num_resamples)
    hits, video = hits[: last[-1] + 1], video[: last[-1] + 1]
    starts = np.flatnonzero(np.diff(hits, prepend=~hits[:1]))
    if hits[0]:  # runs of false detections and of hits alternate; the first is false, perhaps empty
        starts = np.append(0, starts)
    size = max(1, _CHUNK // len(starts))
    chunks = np.array_split(weights, -(-num_resamples // size), axis=1)
    return np.concatenate([_area_of_runs(starts, video, chunk, method) for chunk in chunks])


def _area_of_runs(
    starts: np.ndarray, video: np.ndarray, weights: np.ndarray, method: APMethod
) -> np.ndarray:
    """(B,) see `_weighted_area`; `starts` (2R,) are the first of each false run, then its hits."""
    from scipy.sparse import csr_matrix

    ones = np.ones(len(video), np.int32)
    shape = (len(starts), len(weights))
    runs = csr_matrix((ones, video, np.append(starts, len(video))), shape)
    counts = runs @ np.ascontiguousarray(weights)  # (2R, B) detections in each run
    hits = counts[1::2]
    num_false = np.cumsum(counts[::2], axis=0, dtype=np.int32)
    num_hits = np.cumsum(hits, axis=0, dtype=np.int32)
    num_found = num_false + num_hits
    if method == "envelope":
        precision = num_hits / np.maximum(num_found, 1)
        best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        return np.einsum("rb,rb->b", hits, best)
    # 1 / n and the harmonic numbers from 0 on; where no detection counts, f is 0, too.
    inverse = np.append(0.0, 1 / np.arange(1, int(num_found[-1].max()) + 1))
    harmonic = np.cumsum(inverse)
    before = num_found - hits
    area = np.einsum("rb,rb->b", num_false, harmonic.take(before) - harmonic.take(num_found))
    steps = np.einsum("rb,rb->b", num_false, inverse.take(num_found) - inverse.take(before))
    return num_hits[-1] + area + 0.5 * steps
