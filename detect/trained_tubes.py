"""From a video file to the action tubes of a trained detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..datasets.files import InputError
from ..datasets.tables import Detections, Tubes, select_rows
from ..datasets.video import probe, read_frames
from .dense import FrameBoxes, Mode, find_actions, joined
from .detector import Detector
from .linking.greedy import ACT, GreedyRules
from .linking.link import link
from .linking.viterbi import ViterbiRules
from .proposals import Proposals
from .video_tubes import VideoTubes

Array = np.ndarray
THRESHOLD = 0.2
"""Of the boxes in tubes. Where actions begin and end inside a video, weaker boxes before and after
them make tubes too long: on the demo's figures, whose detector had seen 600 steps of 16 clips,
video-mAP@0.5 was 2.5 with boxes of any score, 17.1 from 0.05 on, 32.2 from 0.2 and 32.3 from 0.3
(video-mAP@0.2: 80.7, 78.3, 82.5 and 74.9)."""


def find_trained_tubes(
    video: Path,
    name: str,
    detector: Detector,
    people: Proposals | None = None,
    *,
    rules: GreedyRules | ViterbiRules = ACT,
    threshold: float = THRESHOLD,
    mode: Mode = "shared",
    every: int = 1,
    half: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> VideoTubes:
    """Runs a detector over a video and links what it finds; `find_tubes` needs no training.

    Memory grows with the rows of the tables, not with the frames.

    Args:
        video: the file.
        name: what the tables call it.
        detector: in evaluation mode, on `device`.
        people: where people are, in place of the detector's own proposals if it has some.
        rules: of linking, for boxes on every frame; see `rules_for`.
        threshold: the lowest score of boxes in tubes. Detections are kept from 0.01 on, as average
            precision asks for.
        mode, every: see `dense.pieces`. Between key frames tubes are interpolated, after the last
            one they stand still; these boxes stand in the table of detections too.
        half: compute in bfloat16 where that is safe.
        progress: show a bar with the time left.

    Returns:
        tubes numbered from the best score to the lowest; each has one label, whose score is the
        tube's.

    Raises:
        InputError: no frame of the video can be read; a detector without proposals got no people;
            `every` is less than 1.
    """
    if every < 1:
        raise InputError(f"--every {every}: give 1 or more frames from one key frame to the next")
    if people is None and detector.proposals is None:
        raise InputError(f"{video}: this detector needs person boxes; give --proposals")
    info = probe(video)
    num_frames = 0

    def frames() -> Iterator[Array]:
        nonlocal num_frames
        bar = tqdm(
            read_frames(video), total=info.num_frames, desc=video.name, unit=" frames",
            disable=not progress, leave=False, delay=1,
        )  # fmt: skip
        for frame in bar:
            num_frames += 1
            yield frame

    parts = find_actions(
        detector, frames(), people=people, mode=mode, every=every, device=device, half=half
    )
    found = _detections(
        joined(list(parts)), name, detector.settings.labels, info.width, info.height
    )
    rules = rules_for(rules, every)

    def linked(detections: Detections) -> Tubes:
        return hold(link(detections, rules), every, num_frames)

    detections = add_between(found, linked(found), every) if every > 1 else found
    tubes, scores = best_first(linked(select_rows(found, found.score >= threshold)))
    label_scores = np.zeros((len(scores), len(tubes.label_names)))
    label_scores[tubes.tube, tubes.label] = tubes.tube_score
    return VideoTubes(replace(info, num_frames=num_frames), tubes, detections, scores, label_scores)


def rules_for(rules: GreedyRules | ViterbiRules, every: int) -> GreedyRules | ViterbiRules:
    """The rules where only every so many frames have boxes.

    A greedy tube stays open for one key frame without its box; Viterbi's paths go from each frame
    with boxes to the next, however far.
    """
    if every == 1 or isinstance(rules, ViterbiRules):
        return rules
    return replace(rules, gap=max(rules.gap, 2 * every))


def hold(tubes: Tubes, every: int, num_frames: int) -> Tubes:
    """Lets tubes that reach the last key frame go on to the video's end with their last box.

    Args:
        tubes: of one video.
        every: frames from one key frame to the next.
        num_frames: of the video.
    """
    last = (num_frames - 1) // every * every
    after = np.arange(last + 1, num_frames, dtype=np.int32)
    ends = np.flatnonzero(tubes.frame == last)
    rows = np.concatenate([np.arange(len(tubes)), np.repeat(ends, len(after))])
    frame = np.concatenate([tubes.frame, np.tile(after, len(ends))])
    return replace(select_rows(tubes, rows), frame=frame)


def add_between(detections: Detections, tubes: Tubes, every: int) -> Detections:
    """The detections, and where no frame was looked at the interpolated boxes of the tubes.

    Args:
        detections: on key frames.
        tubes: linked from them, with a score in each row.
        every: frames from one key frame to the next.
    """
    between = select_rows(tubes, tubes.frame % every != 0)
    assert between.score is not None

    def both(column: str) -> Array:
        return np.concatenate([getattr(detections, column), getattr(between, column)])

    return replace(
        detections, video=both("video"), frame=both("frame"), label=both("label"),
        score=both("score"), boxes=both("boxes"),
    )  # fmt: skip


def best_first(tubes: Tubes) -> tuple[Tubes, Array]:
    """The tubes numbered from 0 by falling score, rows in that order.

    Returns:
        the tubes, and (P,) the score of each.
    """
    assert tubes.tube_score is not None
    _, first, place = np.unique(tubes.tube, return_index=True, return_inverse=True)
    order = np.argsort(-tubes.tube_score[first], kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    renumbered = replace(tubes, tube=number[place])
    rows = np.lexsort((renumbered.frame, renumbered.tube))
    return select_rows(renumbered, rows), tubes.tube_score[first][order]


def _detections(
    found: FrameBoxes, name: str, labels: tuple[str, ...], width: int, height: int
) -> Detections:
    return Detections(
        np.zeros(len(found.frame), np.int32), found.frame, found.label, found.score,
        found.boxes * [width, height, width, height], (name,), labels,
    )  # fmt: skip
