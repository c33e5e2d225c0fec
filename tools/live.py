"""The command `actiontubes live`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

from ..datasets.files import InputError, as_option

if TYPE_CHECKING:
    from ..datasets.stream import LiveSource
    from ..detect.live import Show


def live(
    source: str,
    *,
    checkpoint: Path,
    out: Path | None = None,
    show: bool = False,
    port: int = 8000,
    proposals: str | None = None,
    step: int = 8,
    look_ahead: int | None = None,
    speed: Literal["own", "max"] = "own",
    loop: bool = False,
    frames: int | None = None,
    timeout: float = 10.0,
    retries: int | None = None,
    threshold: float = 0.4,
    precision: Literal["no", "bf16", "fp16"] = "no",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    trail: bool = False,
) -> None:
    """Find and draw action tubes in a camera's picture or a stream, while it runs.

    Frames that come too fast are dropped, the oldest first, so that the picture never lags behind:
    latency and dropped frames stand in it. Ctrl-C ends the run; everything written is then whole.
    With --out, OUT/tubes.csv gets each tube as it ends, and OUT/live-0001.mp4, ... the drawn video,
    ten minutes each. With --show, or without --out, a page of this machine shows it in a browser.

    Args:
        source: A camera's number (0 is the first), an address (rtsp://, http://, udp://) or a video
            file, which is played at its own rate.
        checkpoint: A trained detector (detector.safetensors, or an .onnx of `actiontubes export`).
        out: The folder to write to.
        show: Show the drawn video in a browser.
        port: Of that page, on this machine.
        proposals: Where people are, as in `actiontubes detect`; a detector that finds them itself
            needs none.
        step: Frames that share a pass through the network, a multiple of 4. More are faster, and
            wait for each other longer.
        look_ahead: Frames that are awaited behind those of a pass. Fewer are sooner and less sure;
            missing ones repeat the last (default: as many as the detector was trained with).
        speed: Of a file: own, or max, as fast as it can be read, with no frame dropped.
        loop: Begin a file anew when it ends.
        frames: End after so many frames.
        timeout: Seconds without a frame after which a source has stalled.
        retries: How often in a row a source that stalled or ended is connected again (default: 10;
            0 for files).
        threshold: The lowest score of the boxes that tubes are made of.
        precision: bf16 or fp16 compute in half precision where that is safe.
        device: Where networks run; auto takes a GPU if there is one.
        trail: Draw the way of each box's centre over the last second.
    """
    import torch

    from ..backbones.layers import keep_freed_memory
    from ..datasets.stream import LiveSource, endless, open_source
    from ..detect.live import LiveTubes, run_live
    from ..detect.live_files import DrawnParts, TubeFile
    from ..detect.live_page import serve_page
    from ..detect.onnx_detector import open_detector
    from ..detect.proposals import open_proposals

    for name, value, least in (("step", step, 1), ("look_ahead", look_ahead, 0),
                               ("frames", frames, 1), ("retries", retries, 0)):  # fmt: skip
        if value is not None and value < least:
            raise InputError(f"{as_option(name)} {value}: must be {least} or more")
    if not timeout > 0:
        raise InputError(f"--timeout {timeout}: must be greater than 0 seconds")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU on this machine; use --device cpu")
    is_file = not source.isdigit() and "://" not in source
    for name, given in (("speed max", speed == "max"), ("loop", loop)):
        if given and not is_file:
            raise InputError(
                f"--{name}: only works for video files, not for a camera or a stream; leave it out"
            )
    opened = open_source(source, timeout=timeout, at_once=speed == "max")
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    keep_freed_memory()
    detector = open_detector(checkpoint, device=device, half=half)
    people = None
    if proposals is not None or detector.proposals is None:
        people = open_proposals(proposals or "default", device=device)
    live_source = LiveSource(
        endless(opened) if loop else opened, source, longest=max(step, 8), timeout=timeout,
        retries=(0 if is_file else 10) if retries is None else retries, drop=speed == "own",
    )  # fmt: skip

    with ExitStack() as stack:
        shows: list[Show] = []
        keep = None
        if out is not None:
            keep = TubeFile(out / "tubes.csv").append
            shows.append(stack.enter_context(DrawnParts(out)).write)
        if show or out is None:
            address, put = stack.enter_context(serve_page(port))
            print(f"open {address} in a browser; Ctrl-C ends the run", flush=True)
            shows.append(put)
        _stop_by_signals(live_source, stack)
        summary = run_live(
            live_source, detector, people, step=step, look_ahead=look_ahead,
            tubes=LiveTubes(detector.settings.labels, trail=trail), show=shows, keep=keep,
            most_frames=frames, threshold=threshold, half=half, device=device,
        )  # fmt: skip
    where = "" if out is None else f": {out}"
    print(
        f"{summary.frames} frames, {summary.dropped} dropped, {summary.tubes} tubes, latency "
        f"{summary.latency(0.5):.2f} s (95 % below {summary.latency(0.95):.2f} s){where}"
    )


def _stop_by_signals(source: LiveSource, stack: ExitStack) -> None:
    """Lets the first Ctrl-C, or a polite kill, end the run; a second one interrupts as ever."""
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
