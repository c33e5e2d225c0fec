"""The command `actiontubes live`."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

from ..datasets.errors import InputError, error_line, refuse_options
from ..datasets.options import Range, at_least, between

if TYPE_CHECKING:
    from ..datasets.video.live_source import LiveSource
    from ..detect.inference.action_detector import ActionDetector


def live(
    source: list[str],
    *,
    checkpoint: Path | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    labels: list[str] | None = None,
    scene_weight: float | None = None,
    out: Path | None = None,
    events: str | None = None,
    zone: list[str] | None = None,
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
    threshold: Annotated[float | None, between(0, 1)] = None,
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    trail: bool = False,
) -> int:
    """Follow people in cameras or streams and say what they do while it happens.

    No training needed; with --checkpoint, a detector trained by `actiontubes train` finds the
    actions. When frames come too fast, fewer are processed, so the video never lags; latency and
    dropped frames are shown in it. Ctrl-C ends the run and leaves all files complete. --events
    tells when someone begins or ends an action. With --out, the tube of each action is added to
    OUT/tubes.csv when it ends, and the drawn video goes to OUT/live-0001.mp4, ..., ten minutes in
    each file; several sources have a folder each in OUT. With --show, or without --out and
    --events, a page on this machine shows the video in a browser, who does what and the latest
    events; its addresses /status and /events answer in JSON.

    Args:
        source: Camera numbers (0 is the first), addresses (rtsp://, http://, udp://), or video
            files (played at their own speed).
        checkpoint: A trained detector: detector.safetensors, or an .onnx file written by
            `actiontubes export`.
        backbone: Without --checkpoint: the classifier network, as in `actiontubes detect`.
        weights: Without --checkpoint: its weights, as in `actiontubes detect`.
        labels: Without --checkpoint: only these classes, as in `actiontubes detect`.
        scene_weight: Without --checkpoint: weight of the whole frame against the person's own
            region, 0 to 1. Default: 0.5.
        out: Output folder.
        events: Where events go, one JSON object a line: - is standard output, FILE is appended to,
            and to an http:// address each is sent as a POST. Events have event (begin or end), time
            in seconds of the video, clock, source, person, label, score, box and zone. A receiver
            that is too slow misses the oldest.
        zone: NAME=x1,y1,x2,y2,...: events only of people inside, by the middle of their box's lower
            edge. Corners of a polygon in pixels of the video; two corners are a rectangle. Several
            zones are allowed.
        show: Show the drawn video in a browser.
        port: Port of the browser page on this machine.
        proposals: Where person boxes come from, as in `actiontubes detect`; a detector that finds
            people itself needs none.
        person_class: Name or number of the class person of an ONNX detector given as --proposals.
            Default: by the class names in its metadata, or COCO's order for 80 classes.
        proposal_step: Find people on every Nth frame only; until the next one their boxes move on
            at constant velocity.
        step: Frames processed together, a multiple of 4. More frames are faster, but add latency.
        look_ahead: Frames to wait for after each batch, but never more than come in a second.
            Fewer reduce latency and accuracy; missing frames repeat the last one. Default: as in
            training; 8 without --checkpoint.
        speed: For files: own plays at the video's speed; max reads as fast as possible and drops no
            frame.
        loop: For files: start again at the end.
        frames: Stop after this many frames.
        timeout: Seconds without a frame after which the source counts as stalled.
        retries: Reconnection attempts in a row after the source stalls or ends. Default: 10; 0 for
            files.
        threshold: Score from which on an action counts as present. Default: 0.4 with --checkpoint,
            else 0.5.
        precision: With --checkpoint: no (float32), or bf16 or fp16 for half precision where it is
            safe; auto is bf16 where the processor or GPU computes it natively, else no.
        device: auto uses a GPU if there is one.
        trail: Draw the path of each box's center over the last second.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.class_list import expand_labels
    from ..datasets.file_options import FileOptions
    from ..datasets.video.live_source import LiveSource, open_live_source, repeat_source
    from ..datasets.video.reader import VideoInfo, probe
    from ..datasets.video_names import folder_name
    from ..detect.inference.action_detector import check_proposal_step
    from ..detect.inference.device import choose_device, explain_precision
    from ..detect.inference.live.board import Board
    from ..detect.inference.live.events import open_events
    from ..detect.inference.live.models import choose_threshold, open_live_model
    from ..detect.inference.live.page import serve_page
    from ..detect.inference.live.run import Sinks, run_live
    from ..detect.inference.live.sources import is_file, name_sources, run_together
    from ..detect.inference.live.writers import TubeCsvWriter, VideoPartWriter
    from ..detect.inference.live.zones import parse_zones
    from ..detect.inference.load import load_checkpoint, load_zero_shot
    from ..detect.linking.action_stream import StreamConfig

    for name, is_set in (("speed max", speed == "max"), ("loop", loop)):
        if is_set and not all(map(is_file, source)):
            raise InputError(
                f"--{name}: only works for video files, not for a camera or a stream; leave it out"
            )
    names = name_sources(source)
    opened = [open_live_source(each, timeout=timeout, at_once=speed == "max") for each in source]
    zones = parse_zones(zone or [])
    keep_freed_memory()
    torch_device = choose_device(device)
    files = FileOptions(person_class=person_class)
    detector: ActionDetector
    if checkpoint is None:
        detector = load_zero_shot(
            backbone, weights, proposals=proposals, labels=expand_labels(labels),
            scene_weight=0.5 if scene_weight is None else scene_weight, files=files,
            device=torch_device,
        )  # fmt: skip
    else:
        refuse_options(
            "cannot be used with --checkpoint, which already contains the network and its classes; "
            "leave it out",
            backbone=backbone, weights=weights, labels=labels, scene_weight=scene_weight,
        )  # fmt: skip
        detector = load_checkpoint(
            checkpoint, proposals=proposals, files=files, device=torch_device, precision=precision
        )
        check_proposal_step(proposal_step, detector.predictor, detector.source)
        if precision == "auto" and checkpoint.suffix.lower() != ".onnx":
            print(explain_precision(torch_device), file=sys.stderr)
    config = StreamConfig(threshold=choose_threshold(detector) if threshold is None else threshold)
    board = Board(names)
    # Lines for people keep out of events on standard output.
    console = sys.stderr if events == "-" else sys.stdout

    with ExitStack() as stack:
        queue = None if events is None else stack.enter_context(open_events(events))
        event_sinks = [board.add_event] if queue is None else [board.add_event, queue.put]
        shows = None
        if show or (out is None and events is None):
            address, shows = stack.enter_context(serve_page(board, port))
            print(f"open {address} in a browser; Ctrl-C ends the run", flush=True, file=console)
        sources, runs = [], []
        for index, (each, read) in enumerate(zip(source, opened)):
            path, file = Path(each), is_file(each)
            info = probe(path) if file else VideoInfo(path, 0, 0, math.nan, None)
            sources.append(
                LiveSource(
                    repeat_source(read) if loop else read, each, queue_size=max(step, 8),
                    timeout=timeout, drop=speed == "own",
                    retries=(0 if file else 10) if retries is None else retries,
                )
            )  # fmt: skip
            frame_sinks, tube_sink = [] if shows is None else [shows[index]], None
            if out is not None:
                folder = out if len(source) == 1 else out / folder_name(names[index])
                tube_sink = TubeCsvWriter(folder / "tubes.csv").append
                parts = VideoPartWriter(folder, pixel_aspect=info.pixel_aspect)
                frame_sinks.append(stack.enter_context(parts).write)
            model = open_live_model(
                detector, info, step=step, lookahead=look_ahead, proposal_step=proposal_step
            )
            status_sink = partial(board.show, index)
            runs.append(
                partial(
                    run_live, sources[-1], model,
                    Sinks(frame_sinks, tube_sink, event_sinks, status_sink), name=names[index],
                    config=config, zones=zones, trail=trail, max_frames=frames,
                )
            )  # fmt: skip
        if queue is not None:
            board.delivery = queue.state
        _stop_by_signals(sources, stack)
        results = run_together(runs) if len(runs) > 1 else [runs[0]()]
    where = "" if out is None else f": {out}"
    failed = [result for result in results if isinstance(result, Exception)]
    for name, result in zip(names, results):
        before = f"{name}: " if len(names) > 1 else ""
        if isinstance(result, Exception):
            print(f"actiontubes live: {error_line(result)}", file=sys.stderr)
        else:
            print(f"{before}{result.text()}{where}", file=console)
    if queue is not None:
        print(queue.text(), file=console)
    return 2 if failed else 0


def _stop_by_signals(sources: Sequence[LiveSource], stack: ExitStack) -> None:
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
        for source in sources:
            source.stop()
        restore()

    for each in before:
        signal.signal(each, stop)
    stack.callback(restore)
