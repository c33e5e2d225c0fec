"""From a video to the action tubes of a trained detector."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np

from ....datasets.errors import InputError
from ....datasets.flow.cache import append_cached_flow
from ....datasets.options import Options, at_least
from ....datasets.prefetch import write_in_background
from ....datasets.tables import Detections, Tracks, Tubes, select_rows
from ....datasets.video.cuts import mark_cuts
from ...linking.interface import Calibration, LinkConfig
from ...linking.linker import make_linker
from ...linking.persons import PersonsLinker
from ...people.proposals import ProposalSource
from ..clip_batches import prefetch_clip_batches
from ..clip_geometry import Mode
from ..predictor import Predictor, postprocess
from ..video_input import FrameTimes, VideoInput
from .video_output import VideoSummary, WriteTables, frames_bar
from .video_tables import VideoTables, open_video_tables

BOX_SCORE_THRESHOLD = 0.4
"""The lowest score of boxes in tubes of linkers that link each class by itself. Where actions begin
and end inside a video, boxes with lower scores before and after them make tubes too long: on the
demo's figures (frame-mAP 88.8) video-mAP@0.5 was 42.0 with boxes from 0.05 on, 68.6 from 0.2, 82.9
from 0.4 and 83.7 from 0.5, where a weaker detector (frame-mAP 65.5) lost whole tubes
(video-mAP@0.2 79.7 from 0.4 on, 69.7 from 0.5)."""
TUBE_SCORE_THRESHOLD = 0.1
"""The lowest score of tubes of people that are written. It only leaves out: where tubes are, and
when, does not depend on it. Of the tubes that the demo's detector finds from 0.1 to 0.2 none was
right at an IoU of 0.5, of those from 0.3 on 41 of 45."""


PERSON_SCORE_THRESHOLD = 0.1
"""The lowest mean score of people who are written though they do nothing that has a name."""
_INTERPOLATED = 1000  # key frames after which the tubes between which is interpolated start anew
Boxes = TypeVar("Boxes", Tubes, Tracks)


@dataclass(frozen=True)
class TubeOptions(Options):
    """How the tubes of a trained detector are made.

    Attributes:
        linker: a key of `linking.linker.LINKERS`.
        threshold: the lowest score of the tubes that are written; with a linker that links each
            class by itself, of the boxes that it gets. None is `TUBE_SCORE_THRESHOLD`, or then
            `BOX_SCORE_THRESHOLD`. Detections are kept from 0.01 on, as average precision needs
            them.
        mode: see `Mode`.
        key_frame_step: frames from one key frame to the next. Between key frames tubes are
            interpolated, and after the last one they keep their box; these boxes are in the table
            of detections, too.
        proposal_step: find people on every so many key frames only, and carry their boxes to the
            key frames between.
    """

    linker: str = "persons"
    threshold: float | None = None
    mode: Mode = "shared"
    key_frame_step: Annotated[int, at_least(1)] = 1
    proposal_step: Annotated[int, at_least(1)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        make_linker(self.linker)  # an unknown name is an error before anything is loaded


@contextmanager
def detector_tubes(
    video: VideoInput,
    predictor: Predictor,
    source: ProposalSource | None = None,
    options: TubeOptions = TubeOptions(),
    *,
    calibration: Calibration | None = None,
    progress: bool = True,
) -> Iterator[WriteTables]:
    """Yields a function that runs a predictor over a video and writes the tables to a folder.

    Reading begins with the block. One thread reads, another makes proposals, one cuts clips, one
    links and writes. Memory grows neither with the frames nor with the rows of the tables, except
    with Viterbi's linkers, which need all detections of a video.

    Args:
        video: see `open_video`.
        predictor: see `Predictor`.
        source: where people are, for external proposals.
        options: see `TubeOptions`.
        calibration: of the predictor, from its checkpoint.
        progress: show a bar with the time left.

    The function writes the `RESULT_FILES` to the folder that it gets. Tubes are numbered from the
    highest score to the lowest, people in the order in which they appear.

    Raises:
        InputError: external proposals are needed and there is no source.
    """
    info, config, times = video.info, predictor.config, FrameTimes()
    size = (info.width, info.height)
    cuts: deque[int] = deque()
    opened = source.open(info) if source and predictor.proposals == "external" else None
    if opened is None and predictor.proposals == "external":
        raise InputError(
            f"{info.path}: this detector does not find people itself; give --proposals"
        )

    def frames() -> Iterator[np.ndarray]:
        images = times.read(video)
        if config.streams != "rgb":
            images = append_cached_flow(images, info.path, config.flow_method)
        for number, (frame, is_cut) in enumerate(mark_cuts(images)):
            if is_cut:
                cuts.append(number)
            yield frame

    def run(folder: Path) -> VideoSummary:
        with (
            open_builder(folder, options, info.num_frames, calibration, cuts) as builder,
            frames_bar(info, progress) as bar,
        ):
            with write_in_background(builder.add, 2) as add:
                for batch in batches:
                    predictions = predictor.predict(batch)
                    add(postprocess(predictions, config, name=video.name, size=size))
                    bar.update(int(batch.frame_numbers[-1]) + 1 - bar.n)
            builder.finish(len(times))
            return builder.tables.write(video, config.labels, times, folder, builder.note())

    with prefetch_clip_batches(
        config, frames(), source=opened, mode=options.mode,
        key_frame_step=options.key_frame_step, proposal_step=options.proposal_step,
        device=predictor.device,
    ) as batches:  # fmt: skip
        yield run


class TubeBuilder:
    """Links the detections of a video as they come.

    Args:
        tables: gets detections, tracks and tubes.
        options: see `TubeOptions`.
        num_frames: of the video, where it is known.
        calibration: see `detector_tubes`.
        cuts: first frames of shots, ascending; those up to a frame are there before its detections.
            Tracks of people end there; linkers that link each class by itself know no cuts.
    """

    def __init__(
        self,
        tables: VideoTables,
        options: TubeOptions,
        num_frames: int | None = None,
        calibration: Calibration | None = None,
        cuts: deque[int] | None = None,
    ) -> None:
        self.tables, self.step = tables, options.key_frame_step
        last = None if num_frames is None else (num_frames - 1) // self.step * self.step
        config = LinkConfig(key_frame_step=self.step, num_frames=None if last is None else last + 1)
        people = options.linker == "persons"
        self._cuts = cuts if people and cuts is not None else deque()
        self._least_box = 0.0 if people else least_score(options)
        self._best_box = -1.0
        self._linker = make_linker(options.linker, config, calibration=calibration)
        # Between key frames, detections are interpolated from tubes of boxes of any score; tubes
        # of people have no box where a class is absent.
        per_class = "act" if people else options.linker
        self._interpolator = make_linker(per_class, config) if self.step > 1 else None
        self._restart = _INTERPOLATED * self.step

    def add(self, detections: Detections) -> None:
        """Takes all detections of the next frames."""
        self._best_box = max(self._best_box, detections.score.max(initial=-1.0))
        last = int(detections.frame.max(initial=-1))
        while self._cuts and self._cuts[0] <= last:
            cut = self._cuts.popleft()
            self._link(select_rows(detections, detections.frame < cut))
            self.finish(cut)
            detections = select_rows(detections, detections.frame >= cut)
        self._link(detections)

    def _link(self, detections: Detections) -> None:
        strong = detections
        if self._least_box:
            strong = select_rows(detections, detections.score >= self._least_box)
        linked = self._linker.update(strong)
        self.tables.add(linked)
        self.tables.add_detections(detections, linked.detection_track)
        if self._interpolator:
            self._add_between(self._interpolator.update(detections).tubes)
            last = int(detections.frame.max(initial=-1))
            if last >= self._restart:  # or tubes of people who stay would fill the memory
                self._add_between(self._interpolator.finish().tubes)
                self._interpolator.update(select_rows(detections, detections.frame == last))
                self._restart = last + _INTERPOLATED * self.step

    def finish(self, num_frames: int) -> None:
        """Ends the video or a shot, before the frame of this number."""
        linked = self._linker.finish()
        tracks = linked.tracks and extend_to_end(linked.tracks, self.step, num_frames)
        tubes = extend_to_end(linked.tubes, self.step, num_frames)
        self.tables.add(replace(linked, tubes=tubes, tracks=tracks))
        if self._interpolator:
            tubes = self._interpolator.finish().tubes
            self._add_between(extend_to_end(tubes, self.step, num_frames))

    def _add_between(self, tubes: Tubes) -> None:
        """Adds the detections between key frames; whose they are is not known."""
        between = interpolated_detections(tubes, self.step)
        is_known = isinstance(self._linker, PersonsLinker)
        self.tables.add_detections(between, np.full(len(between), -1) if is_known else None)

    def note(self) -> str:
        """After `finish`: what was left out, in words; "" for nothing."""
        if self._best_box < 0:
            return "nothing detected"
        tables, least_tube = self.tables, self.tables.least_tube
        for best, least in ((self._best_box, self._least_box), (tables.best_tube, least_tube)):
            if 0 <= best < least:
                return f"no score reaches --threshold {least}; the best {best:.2f}"
        notes = []
        if tables.num_dropped:
            notes.append(f"{_tubes(tables.num_dropped)}, too short or of too low a score")
        if tables.num_below:
            notes.append(f"{_tubes(tables.num_below)} with scores below {least_tube}")
        return f"left out: {'; '.join(notes)}" if notes else ""


def least_score(options: TubeOptions) -> float:
    """The lowest score: of tubes of people, or of the boxes of linkers that link each class."""
    if options.threshold is not None:
        return options.threshold
    return TUBE_SCORE_THRESHOLD if options.linker == "persons" else BOX_SCORE_THRESHOLD


@contextmanager
def open_builder(
    folder: Path,
    options: TubeOptions,
    num_frames: int | None = None,
    calibration: Calibration | None = None,
    cuts: deque[int] | None = None,
) -> Iterator[TubeBuilder]:
    """A `TubeBuilder` whose rows wait in the folder until the block ends."""
    least_tube = least_score(options) if options.linker == "persons" else 0.0
    with open_video_tables(folder, least_tube, PERSON_SCORE_THRESHOLD) as tables:
        yield TubeBuilder(tables, options, num_frames, calibration, cuts)


def _tubes(count: int) -> str:
    return f"{count} tube{'s' * (count > 1)}"


def extend_to_end(tubes: Boxes, key_frame_step: int, num_frames: int) -> Boxes:
    """Extends what reaches the last key frame to the end of the video, with its last box.

    Args:
        tubes: tubes or tracks of one video.
        key_frame_step: frames from one key frame to the next.
        num_frames: of the video, or up to the next shot.
    """
    last = (num_frames - 1) // key_frame_step * key_frame_step
    after = np.arange(last + 1, num_frames, dtype=np.int32)
    ends = np.flatnonzero(tubes.frame == last)
    rows = np.concatenate([np.arange(len(tubes)), np.repeat(ends, len(after))])
    frame = np.concatenate([tubes.frame, np.tile(after, len(ends))])
    return replace(select_rows(tubes, rows), frame=frame)


def interpolated_detections(tubes: Tubes, key_frame_step: int) -> Detections:
    """The interpolated boxes of tubes, on the frames that are not key frames.

    Args:
        tubes: of one video, with a score in each row.
        key_frame_step: frames from one key frame to the next.
    """
    rows = select_rows(tubes, tubes.frame % key_frame_step != 0)
    assert rows.score is not None
    return Detections(
        video=rows.video, frame=rows.frame, label=rows.label, score=rows.score, boxes=rows.boxes,
        video_names=rows.video_names, label_names=rows.label_names,
    )  # fmt: skip
