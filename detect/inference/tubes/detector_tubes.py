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
from ...linking.interface import LinkConfig
from ...linking.linker import make_linker
from ...people.proposals import ProposalSource
from ..clip_batches import prefetch_clip_batches
from ..clip_geometry import Mode
from ..predictor import Predictor, postprocess
from ..video_input import VideoInput
from .video_output import TubeStore, VideoSummary, WriteTables, frames_bar, write_video_info

TUBE_SCORE_THRESHOLD = 0.4
"""The lowest score of boxes in tubes. Where actions begin and end inside a video, boxes with lower
scores before and after them make tubes too long: on the demo's figures (frame-mAP 88.8)
video-mAP@0.5 was 42.0 with boxes from 0.05 on, 68.6 from 0.2, 82.9 from 0.4 and 83.7 from 0.5,
where a weaker detector (frame-mAP 65.5) lost whole tubes (video-mAP@0.2 79.7 from 0.4 on, 69.7
from 0.5)."""


@dataclass(frozen=True)
class TubeOptions(Options):
    """How the tubes of a trained detector are made.

    Attributes:
        linker: a key of `linking.linker.LINKERS`.
        threshold: the lowest score of boxes in tubes. Detections are kept from 0.01 on, as average
            precision needs them.
        mode: see `Mode`.
        key_frame_step: frames from one key frame to the next. Between key frames tubes are
            interpolated, and after the last one they keep their box; these boxes are in the table
            of detections, too.
        proposal_step: find people on every so many key frames only, and carry their boxes to the
            key frames between.
    """

    linker: str = "act"
    threshold: float = TUBE_SCORE_THRESHOLD
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
            builder = TubeBuilder(detections.write, store.add, options, info.num_frames)
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
    """

    def __init__(
        self,
        write: Callable[[Detections], None],
        keep: Callable[[Tubes], None],
        options: TubeOptions,
        num_frames: int | None = None,
    ) -> None:
        self.write, self.keep = write, keep
        self.threshold, self.step = options.threshold, options.key_frame_step
        last = None if num_frames is None else (num_frames - 1) // self.step * self.step
        config = LinkConfig(key_frame_step=self.step, num_frames=None if last is None else last + 1)
        self._best_score = -1.0
        self._num_dropped = 0
        self._linker = make_linker(options.linker, config)
        # Between key frames, detections are interpolated from tubes of boxes of any score.
        self._interpolator = make_linker(options.linker, config) if self.step > 1 else None

    def add(self, detections: Detections) -> None:
        """Takes all detections of the next frames."""
        self.write(detections)
        self._best_score = max(self._best_score, detections.score.max(initial=-1.0))
        strong = select_rows(detections, detections.score >= self.threshold)
        linked = self._linker.update(strong)
        self._num_dropped += linked.num_dropped
        self.keep(linked.tubes)
        if self._interpolator:
            tubes = self._interpolator.update(detections).tubes
            self.write(interpolated_detections(tubes, self.step))

    def finish(self, num_frames: int) -> None:
        """Ends the video, which has so many frames, at least one."""
        linked = self._linker.finish()
        self._num_dropped += linked.num_dropped
        self.keep(extend_to_end(linked.tubes, self.step, num_frames))
        if self._interpolator:
            tubes = extend_to_end(self._interpolator.finish().tubes, self.step, num_frames)
            self.write(interpolated_detections(tubes, self.step))

    def note(self) -> str:
        """After `finish`: what was left out, in words; "" for nothing."""
        if self._best_score < 0:
            return "nothing detected"
        if self._best_score < self.threshold:
            return f"no score reaches --threshold {self.threshold}; the best {self._best_score:.2f}"
        if self._num_dropped:
            more = "s" * (self._num_dropped > 1)
            return f"{self._num_dropped} tube{more} left out, too short or of too low a score"
        return ""


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
