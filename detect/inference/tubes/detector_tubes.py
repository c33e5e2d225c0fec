"""From a video to the action tubes of a trained detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import numpy as np

from ....datasets.errors import InputError
from ....datasets.flow.cache import append_cached_flow
from ....datasets.options import Options, at_least
from ....datasets.prefetch import write_in_background
from ....datasets.table_writer import OUTPUT_FILES, open_table_writer
from ....datasets.tables import Detections, Tubes, select_rows
from ...linking.interface import Calibration, LinkConfig, LinkResult
from ...linking.linker import make_linker
from ...people.proposals import ProposalSource
from ..clip_batches import prefetch_clip_batches
from ..clip_geometry import Mode
from ..predictor import Predictor, postprocess
from ..video_input import VideoInput
from .video_output import TubeStore, VideoSummary, WriteTables, frames_bar, write_video_info

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
    highest score to the lowest, each with one label, whose score is that of the tube.

    Raises:
        InputError: external proposals are needed and there is no source.
    """
    info, config, num_frames = video.info, predictor.config, 0
    size = (info.width, info.height)
    opened = source.open(info) if source and predictor.proposals == "external" else None
    if opened is None and predictor.proposals == "external":
        raise InputError(
            f"{info.path}: this detector does not find people itself; give --proposals"
        )

    def frames() -> Iterator[np.ndarray]:
        nonlocal num_frames
        images = video.frames(0)
        if config.streams != "rgb":
            images = append_cached_flow(images, info.path, config.flow_method)
        for frame in images:
            num_frames += 1
            yield frame

    def run(folder: Path) -> VideoSummary:
        with (
            open_table_writer(folder / OUTPUT_FILES.detections) as detections,
            TemporaryFile(dir=folder) as file,
            frames_bar(info, progress) as bar,
        ):
            store = TubeStore(file)
            builder = TubeBuilder(
                detections.write, store.add, options, info.num_frames, calibration
            )
            with write_in_background(builder.add, 2) as add:
                for batch in batches:
                    predictions = predictor.predict(batch)
                    add(postprocess(predictions, config, name=video.name, size=size))
                    bar.update(int(batch.frame_numbers[-1]) + 1 - bar.n)
            builder.finish(num_frames)
            with open_table_writer(folder / OUTPUT_FILES.tubes) as table:
                for tubes in store.iter_by_score(video.name, config.labels):
                    table.write(tubes)
        note = builder.note()
        return write_video_info(store, video, config.labels, num_frames, folder, note)

    with prefetch_clip_batches(
        config, frames(), source=opened, mode=options.mode,
        key_frame_step=options.key_frame_step, proposal_step=options.proposal_step,
        device=predictor.device,
    ) as batches:  # fmt: skip
        yield run


class TubeBuilder:
    """Makes the rows of a video's tables from its detections, as they come.

    Args:
        write: takes rows of the table of detections.
        keep: takes whole tubes.
        options: see `TubeOptions`.
        num_frames: of the video, where it is known.
        calibration: see `detector_tubes`.
    """

    def __init__(
        self,
        write: Callable[[Detections], None],
        keep: Callable[[Tubes], None],
        options: TubeOptions,
        num_frames: int | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.write, self.keep, self.step = write, keep, options.key_frame_step
        last = None if num_frames is None else (num_frames - 1) // self.step * self.step
        config = LinkConfig(key_frame_step=self.step, num_frames=None if last is None else last + 1)
        people = options.linker == "persons"
        chosen = options.threshold
        self._least_box = 0.0 if people else BOX_SCORE_THRESHOLD if chosen is None else chosen
        self._least_tube = (TUBE_SCORE_THRESHOLD if chosen is None else chosen) if people else 0.0
        self._best_box = self._best_tube = -1.0
        self._num_dropped = self._num_below = 0
        self._linker = make_linker(options.linker, config, calibration=calibration)
        # Between key frames, detections are interpolated from tubes of boxes of any score; tubes
        # of people have no box where a class is absent.
        per_class = "act" if people else options.linker
        self._interpolator = make_linker(per_class, config) if self.step > 1 else None

    def add(self, detections: Detections) -> None:
        """Takes all detections of the next frames."""
        self.write(detections)
        self._best_box = max(self._best_box, detections.score.max(initial=-1.0))
        strong = select_rows(detections, detections.score >= self._least_box)
        self._keep(self._linker.update(strong))
        if self._interpolator:
            tubes = self._interpolator.update(detections).tubes
            self.write(interpolated_detections(tubes, self.step))

    def finish(self, num_frames: int) -> None:
        """Ends the video, which has so many frames, at least one."""
        linked = self._linker.finish()
        self._keep(replace(linked, tubes=extend_to_end(linked.tubes, self.step, num_frames)))
        if self._interpolator:
            tubes = extend_to_end(self._interpolator.finish().tubes, self.step, num_frames)
            self.write(interpolated_detections(tubes, self.step))

    def _keep(self, linked: LinkResult) -> None:
        tubes = linked.tubes
        assert tubes.tube_score is not None
        self._num_dropped += linked.num_dropped
        self._best_tube = max(self._best_tube, tubes.tube_score.max(initial=-1.0))
        kept = select_rows(tubes, tubes.tube_score >= self._least_tube)
        self._num_below += len(np.unique(tubes.tube)) - len(np.unique(kept.tube))
        self.keep(kept)

    def note(self) -> str:
        """After `finish`: what was left out, in words; "" for nothing."""
        if self._best_box < 0:
            return "nothing detected"
        for best, least in ((self._best_box, self._least_box), (self._best_tube, self._least_tube)):
            if 0 <= best < least:
                return f"no score reaches --threshold {least}; the best {best:.2f}"
        notes = []
        if self._num_dropped:
            notes.append(f"{_tubes(self._num_dropped)}, too short or of too low a score")
        if self._num_below:
            notes.append(f"{_tubes(self._num_below)} with scores below {self._least_tube}")
        return f"left out: {'; '.join(notes)}" if notes else ""


def _tubes(count: int) -> str:
    return f"{count} tube{'s' * (count > 1)}"


def extend_to_end(tubes: Tubes, key_frame_step: int, num_frames: int) -> Tubes:
    """Extends tubes that reach the last key frame to the end of the video, with their last box.

    Args:
        tubes: of one video.
        key_frame_step: frames from one key frame to the next.
        num_frames: of the video.
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
