"""Action tubes of a live video, a few frames behind it.

Memory is constant, however long it runs: what has ended is emitted and forgotten, and no tube
grows without end.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from tqdm import tqdm

from ....datasets.box_coordinates import rescale_boxes
from ....datasets.errors import InputError
from ....datasets.tables import Tubes, select_rows
from ....datasets.video.live_source import LiveSource
from ...people.proposals import OpenSource
from ...visualization.frame import draw_status
from ..predictor import Predictor, postprocess
from ..tubes.detector_tubes import BOX_SCORE_THRESHOLD
from .batches import iter_live_batches
from .tracker import LiveTubeTracker

_EMIT_SECONDS = 1.0  # between two collections of tubes that have ended
_LATENCIES = 10_000  # the latest, which the summary is made of

FrameSink = Callable[[np.ndarray, float], None]
"""Takes a drawn frame, (H, W, 3) uint8 RGB, and when the frame came, in seconds."""
TubeSink = Callable[[Tubes, np.ndarray], None]
"""Takes tubes that have ended, and when the frame of each row came, in seconds."""


@dataclass
class LiveSummary:
    """What a run has done.

    Attributes:
        frames: frames that were processed.
        dropped: frames that came too fast.
        tubes: tubes that have ended.
        latencies: seconds from a frame's coming to its showing, of the latest frames.
    """

    frames: int = 0
    dropped: int = 0
    tubes: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    def latency(self, quantile: float) -> float:
        """A quantile of the latencies in seconds; 0 before the first frame."""
        return float(np.quantile(self.latencies, quantile)) if self.latencies else 0.0


def run_live(
    live_source: LiveSource,
    predictor: Predictor,
    source: OpenSource | None = None,
    *,
    step: int = 8,
    lookahead: int | None = None,
    proposal_step: int = 1,
    trail: bool = False,
    frame_sinks: Iterable[FrameSink] = (),
    tube_sink: TubeSink | None = None,
    max_frames: int | None = None,
    threshold: float = BOX_SCORE_THRESHOLD,
    scale: int | None = None,
    progress: bool = True,
) -> LiveSummary:
    """Processes a live source until it ends, is stopped, or `max_frames` frames are processed.

    Where the frame size changes, all tubes end, with a warning. Whatever ends the run, also an
    error of the source, tubes that were growing are emitted.

    Args:
        live_source: of the frames.
        predictor: of RGB frames.
        source: where people are, for external proposals.
        step, lookahead, proposal_step: see `iter_live_batches`.
        trail: draw the path of each box's center over the last second.
        frame_sinks: get every drawn frame.
        tube_sink: gets the tubes that have ended.
        max_frames: frames to process.
        threshold: the lowest score of a box in a tube.
        scale: see `draw_frame`.
        progress: show frames a second, latency and dropped frames on stderr.

    Raises:
        InputError: the source fails; external proposals are needed and there is no source; or the
            predictor needs optical flow.
    """
    config = predictor.config
    if config.clip_streams != "rgb":
        raise InputError(
            "--checkpoint: live video works with RGB detectors only, and this one uses optical flow"
        )
    if predictor.proposals == "external" and source is None:
        raise InputError(
            "--checkpoint: this detector does not find people itself; give --proposals"
        )
    tracker = LiveTubeTracker(config.labels, trail=trail)
    summary = LiveSummary()
    shape: tuple[int, ...] | None = None
    emitted = time.monotonic()

    def emit(ended: tuple[Tubes, np.ndarray]) -> None:
        summary.tubes += len(np.unique(ended[0].tube))
        if tube_sink is not None and len(ended[0]):
            tube_sink(*ended)

    batches = iter_live_batches(
        islice(live_source.frames(), max_frames), config, step=step, lookahead=lookahead,
        source=source, proposal_step=proposal_step,
    )  # fmt: skip
    bar = tqdm(desc=live_source.name, unit=" frames", disable=not progress)
    try:
        with bar:
            for batch, key_frames in batches:
                detections = postprocess(predictor.predict(batch), config, threshold=threshold)
                for index, frame in enumerate(key_frames):
                    if shape is not None and frame.image.shape != shape:
                        new = f"{frame.image.shape[1]}x{frame.image.shape[0]}"
                        warnings.warn(
                            f"{live_source.name}: the frame size changed from "
                            f"{shape[1]}x{shape[0]} to {new} at frame {frame.number}; all tubes "
                            "end and new ones start",
                            stacklevel=2,
                        )
                        emit(tracker.finish())
                    shape = frame.image.shape
                    rows = select_rows(detections, detections.frame == index)
                    boxes = rescale_boxes(rows.boxes, (1, 1), shape[1::-1])
                    drawn = tracker.add(frame, rows.label, rows.score, boxes, scale)
                    latency = time.monotonic() - frame.time
                    summary.latencies.append(latency)
                    summary.frames += 1
                    summary.dropped = live_source.dropped
                    status = f"latency {latency:.2f} s, {summary.dropped} dropped"
                    draw_status(drawn, status)
                    for sink in frame_sinks:
                        sink(drawn, frame.time)
                bar.set_postfix_str(status, refresh=False)
                bar.update(len(key_frames))
                if time.monotonic() - emitted > _EMIT_SECONDS:
                    emitted = time.monotonic()
                    emit(tracker.pop_closed())
    finally:
        live_source.stop()
        emit(tracker.finish())
    return summary
