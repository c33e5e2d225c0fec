"""The command `actiontubes live`."""

from __future__ import annotations

import math
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

from ..datasets.errors import InputError
from ..datasets.options import Range, at_least

if TYPE_CHECKING:
    from ..datasets.video.live_source import LiveSource
    from ..detect.inference.live.run import FrameSink


def live(
    source: str,
    *,
    checkpoint: Path,
    out: Path | None = None,
    show: bool = False,
    port: int = 8000,
    proposals: str | None = None,
    person_class: str | None = None,
    proposal_step: Annotated[int, at_least(1)] = 1,
    step: Annotated[int, at_least(1)] = 8,
    look_ahead: Annotated[int | None, at_least(0)] = None,
    speed: Literal["own", "max"] = "own",
    loop: bool = False,
    frames: Annotated[int | None, at_least(1)] = None,
    timeout: Annotated[float, Range(lambda value: value > 0, "greater than 0 seconds")] = 10.0,
    retries: Annotated[int | None, at_least(0)] = None,
    threshold: float = 0.4,
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    trail: bool = False,
) -> None:
    """Detect and draw action tubes in a camera or stream while it runs.

    When frames come too fast, the oldest are dropped, so the video never lags; latency and
    dropped frames are shown in it. Ctrl-C ends the run and leaves all files complete. With --out,
    each tube is added to OUT/tubes.csv when it ends, and the drawn video goes to OUT/live-0001.mp4,
    ..., ten minutes in each file. With --show, or without --out, a page on this machine shows the
    video in a browser.

    Args:
        source: A camera number (0 is the first), an address (rtsp://, http://, udp://), or a video
            file (played at its own speed).
        checkpoint: A trained detector: detector.safetensors, or an .onnx file written by
            `actiontubes export`.
        out: Output folder.
        show: Show the drawn video in a browser.
        port: Port of the browser page on this machine.
        proposals: Where person boxes come from, as in `actiontubes detect`; a detector that finds
            people itself needs none.
        person_class: Name or number of the class person of an ONNX detector given as --proposals.
            Default: by the class names in its metadata, or COCO's order for 80 classes.
        proposal_step: Find people on every Nth frame only; until the next one their boxes move on
            at constant velocity.
        step: Frames processed together, a multiple of 4. More frames are faster, but add latency.
        look_ahead: Frames to wait for after each batch. Fewer reduce latency and accuracy; missing
            frames repeat the last one. Default: as in training.
        speed: For files: own plays at the video's speed; max reads as fast as possible and drops no
            frame.
        loop: For files: start again at the end.
        frames: Stop after this many frames.
        timeout: Seconds without a frame after which the source counts as stalled.
        retries: Reconnection attempts in a row after the source stalls or ends. Default: 10; 0 for
            files.
        threshold: Lowest score of a box that may join a tube.
        precision: no (float32), or bf16 or fp16 for half precision where it is safe; auto is bf16
            where the processor or GPU computes it natively, else no.
        device: auto uses a GPU if there is one.
        trail: Draw the path of each box's center over the last second.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.file_options import FileOptions
    from ..datasets.video.live_source import LiveSource, open_live_source, repeat_source
    from ..datasets.video.reader import VideoInfo, probe
    from ..detect.inference.action_detector import check_proposal_step
    from ..detect.inference.device import choose_device, explain_precision
    from ..detect.inference.live.page import serve_page
    from ..detect.inference.live.run import run_live
    from ..detect.inference.live.writers import TubeCsvWriter, VideoPartWriter
    from ..detect.inference.load import load_checkpoint

    is_file = not source.isdigit() and "://" not in source
    for name, is_set in (("speed max", speed == "max"), ("loop", loop)):
        if is_set and not is_file:
            raise InputError(
                f"--{name}: only works for video files, not for a camera or a stream; leave it out"
            )
    opened = open_live_source(source, timeout=timeout, at_once=speed == "max")
    keep_freed_memory()
    torch_device = choose_device(device)
    detector = load_checkpoint(
        checkpoint, proposals=proposals, files=FileOptions(person_class=person_class),
        device=torch_device, precision=precision,
    )  # fmt: skip
    check_proposal_step(proposal_step, detector.predictor, detector.source)
    path = Path(source)
    info = probe(path) if is_file else VideoInfo(path, 0, 0, math.nan, None)
    person_boxes = detector.source.open(info) if detector.source else None
    live_source = LiveSource(
        repeat_source(opened) if loop else opened, source, queue_size=max(step, 8), timeout=timeout,
        retries=(0 if is_file else 10) if retries is None else retries, drop=speed == "own",
    )  # fmt: skip

    with ExitStack() as stack:
        frame_sinks: list[FrameSink] = []
        tube_sink = None
        if out is not None:
            tube_sink = TubeCsvWriter(out / "tubes.csv").append
            frame_sinks.append(
                stack.enter_context(VideoPartWriter(out, pixel_aspect=info.pixel_aspect)).write
            )
        if show or out is None:
            address, show_frame = stack.enter_context(serve_page(port))
            print(f"open {address} in a browser; Ctrl-C ends the run", flush=True)
            frame_sinks.append(show_frame)
        if precision == "auto" and checkpoint.suffix.lower() != ".onnx":
            print(explain_precision(torch_device), file=sys.stderr)
        _stop_by_signals(live_source, stack)
        summary = run_live(
            live_source, detector.predictor, person_boxes, step=step, lookahead=look_ahead,
            proposal_step=proposal_step, trail=trail, frame_sinks=frame_sinks,
            tube_sink=tube_sink, max_frames=frames, threshold=threshold,
        )  # fmt: skip
    where = "" if out is None else f": {out}"
    print(
        f"{summary.frames} frames, {summary.dropped} dropped, {summary.tubes} tubes, latency "
        f"{summary.latency(0.5):.2f} s (95 % below {summary.latency(0.95):.2f} s){where}"
    )


def _stop_by_signals(source: LiveSource, stack: ExitStack) -> None:
    """Lets the first Ctrl-C or SIGTERM end the run; a second one interrupts it as usual.

    Python lets only the main thread handle signals; in another one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        source.stop()
        restore()

    for each in before:
        signal.signal(each, stop)
    stack.callback(restore)
