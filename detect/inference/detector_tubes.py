"""From a video file to the action tubes of a trained detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from tqdm import tqdm

from ...datasets.errors import InputError
from ...datasets.flow.cache import append_cached_flow
from ...datasets.prefetch import write_in_background
from ...datasets.table_writer import TABLES, open_table_writer
from ...datasets.tables import Detections, Tubes, select_rows
from ...datasets.video.reader import probe, read_video
from ..linking.greedy import ACT, GreedyConfig
from ..linking.linker import PieceLinker
from ..linking.viterbi import ViterbiConfig
from ..people.proposals import ProposalSource
from .clip_batches import prefetch_clip_batches
from .clip_geometry import Mode
from .predictor import Detects, FrameDetections, predict_batch
from .video_output import TubeStore, VideoSummary, write_video_info

TUBE_SCORE_THRESHOLD = 0.4
"""Of the boxes in tubes. Where actions begin and end inside a video, weaker boxes before and after
them make tubes too long: on the demo's figures (frame-mAP 88.8) video-mAP@0.5 was 42.0 with boxes
from 0.05 on, 68.6 from 0.2, 82.9 from 0.4 and 83.7 from 0.5, where a weaker detector (frame-mAP
65.5) lost whole tubes (video-mAP@0.2 79.7 from 0.4 on, 69.7 from 0.5)."""


@contextmanager
def detector_tubes(
    video: Path,
    name: str,
    detector: Detects,
    people: ProposalSource | None = None,
    *,
    rules: GreedyConfig | ViterbiConfig = ACT,
    threshold: float = TUBE_SCORE_THRESHOLD,
    mode: Mode = "shared",
    every: int = 1,
    half: torch.dtype | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Iterator[Callable[[Path], VideoSummary]]:
    """Yields a function that runs a detector over a video, and writes the tables to a folder.

    Reading begins with the block; one thread reads, another looks for people, one cuts pieces, one
    links and writes. Memory grows neither with the frames nor with the rows of the tables, but with
    Viterbi's rules, which look at whole videos.

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
        half: compute in this type where that is safe.
        progress: show a bar with the time left.

    The function writes the `TABLES` of `table_files` to the folder that it is given; tubes are
    numbered from the best score to the lowest, each with one label, whose score is the tube's.

    Raises:
        InputError: a detector without proposals got no people; `every` is less than 1; and of the
            function, no frame of the video can be read.
    """
    if every < 1:
        raise InputError(f"--every {every}: must be 1 or more (frames between key frames)")
    if people is None and detector.proposals is None:
        raise InputError(f"{video}: this detector does not find people itself; give --proposals")
    info = probe(video)
    source = people and people.open(info)
    num_frames = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal num_frames
        pictures = read_video(video)
        if detector.settings.streams != "rgb":
            pictures = append_cached_flow(pictures, video, detector.settings.flow_method)
        for frame in pictures:
            num_frames += 1
            yield frame

    def run(folder: Path) -> VideoSummary:
        labels = detector.settings.labels
        with (
            open_table_writer(folder / TABLES[0]) as detections,
            TemporaryFile(dir=folder) as file,
            tqdm(
                desc=video.name, unit=" frames", disable=not progress, leave=False, delay=1
            ) as bar,
        ):
            tubes = TubeStore(file)
            linking = TubeBuilder(detections.write, tubes.add, rules, threshold, every)
            with write_in_background(linking.add, 2) as give:
                for piece in ahead:
                    bar.total = info.num_frames
                    found = predict_batch(detector, piece, device=device, half=half)
                    give(as_detections(found, name, labels, info.width, info.height))
                    bar.update(int(piece.frames[-1]) + 1 - bar.n)
            linking.finish(num_frames)
            with open_table_writer(folder / TABLES[1]) as table:
                for part in tubes.best_first(name, labels):
                    table.write(part)
        return write_video_info(tubes, name, labels, replace(info, num_frames=num_frames), folder)

    with prefetch_clip_batches(
        detector.settings, frames(), people=source, mode=mode, every=every, device=device
    ) as ahead:
        yield run


class TubeBuilder:
    """Takes a video's detections piece by piece, gives out its tables' rows as they are known.

    Args:
        write: takes rows of the detections.
        keep: takes whole tubes.
        rules, threshold, every: see `detector_tubes`.
    """

    def __init__(
        self,
        write: Callable[[Detections], None],
        keep: Callable[[Tubes], None],
        rules: GreedyConfig | ViterbiConfig,
        threshold: float,
        every: int,
    ) -> None:
        self.write, self.keep, self.threshold, self.every = write, keep, threshold, every
        self._strong = PieceLinker(rules_for(rules, every))
        # Where frames are left out, detections there come from tubes of boxes of any score.
        self._all = PieceLinker(rules_for(rules, every)) if every > 1 else None
        self._like: Detections | None = None

    def add(self, found: Detections) -> None:
        self._like = found
        self.write(found)
        for tubes in self._strong.add(select_rows(found, found.score >= self.threshold)):
            self.keep(tubes)
        for tubes in self._all.add(found) if self._all else ():
            self.write(interpolated_detections(tubes, self.every))

    def finish(self, num_frames: int) -> None:
        assert self._like is not None
        nothing = select_rows(self._like, np.empty(0, np.int64))
        for tubes in self._strong.finish(nothing):
            self.keep(extend_to_end(tubes, self.every, num_frames))
        for tubes in self._all.finish(nothing) if self._all else ():
            self.write(
                interpolated_detections(extend_to_end(tubes, self.every, num_frames), self.every)
            )


def rules_for(rules: GreedyConfig | ViterbiConfig, every: int) -> GreedyConfig | ViterbiConfig:
    """The rules where only every so many frames have boxes.

    A greedy tube stays open for one key frame without its box; Viterbi's paths go from each frame
    with boxes to the next, however far.
    """
    if every == 1 or isinstance(rules, ViterbiConfig):
        return rules
    return replace(rules, gap=max(rules.gap, 2 * every))


def extend_to_end(tubes: Tubes, every: int, num_frames: int) -> Tubes:
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


def interpolated_detections(tubes: Tubes, every: int) -> Detections:
    """The interpolated boxes of tubes, on the frames that were not looked at.

    Args:
        tubes: of one video, with a score in each row.
        every: frames from one key frame to the next.
    """
    rows = select_rows(tubes, tubes.frame % every != 0)
    assert rows.score is not None
    return Detections(
        rows.video, rows.frame, rows.label, rows.score, rows.boxes, rows.video_names,
        rows.label_names,
    )  # fmt: skip


def as_detections(
    found: FrameDetections, name: str, labels: tuple[str, ...], width: int, height: int
) -> Detections:
    return Detections(
        np.zeros(len(found.frame), np.int32), found.frame, found.label, found.score,
        found.boxes * [width, height, width, height], (name,), labels,
    )  # fmt: skip
