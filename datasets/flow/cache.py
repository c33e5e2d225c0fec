"""Optical flow in a file beside its video, so that it is computed only once.

A cache is a Matroska file with lossless FFV1: a gray image for each frame, the x-components (uint8,
see `estimate`) above the y-components. Every image is coded by itself, so that any clip can be read
without the frames before it. On UCF101-24 a frame takes 1.5 kB with a still camera (320x240) and 15
to 20 kB with a moving one (340x256), compared with 174 kB in memory and 696 kB as float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..storage.files import atomic_write
from ..storage.text_files import parse_json
from ..video.container import open_video
from ..video.media import probe_video, read_frames, require_first
from ..video.writer import raise_write_errors
from . import FlowMethod
from .estimate import append_flow, flow_size, iter_flow, stack_flow

_FPS = 25  # frame k of a cache is at k / 25 s, whatever the video's rate


def cache_path(media: Path, method: FlowMethod) -> Path:
    """The cache of a video file, or of a folder of frames: beside it."""
    return media.with_name(f"{media.name}.{method}.flow")


def write_cache(media: Path, path: Path, method: FlowMethod = "tvl1") -> int:
    """Computes the flow of a video and writes it, whole or not at all; shows a progress bar.

    Args:
        media: a video file, or a folder of numbered frames.
        path: usually `cache_path`, where the other functions of this module expect it.
        method: see `compute_flow`.

    Returns:
        the number of frames.

    Raises:
        InputError: the video cannot be read, or the file cannot be written.
    """
    import av
    from tqdm import tqdm

    first, pairs = require_first(iter_flow(read_frames(media), method, threads=0), media)
    height, width = first[1].shape[:2]
    record = {"method": method, "height": height, "width": width, "bytes": _file_size(media)}
    with (
        raise_write_errors(path),
        atomic_write(path) as temporary,
        av.open(f"file:{temporary}", "w", format="matroska") as container,
    ):
        container.metadata["comment"] = json.dumps({"actiontubes-flow": record})
        stream: Any = container.add_stream("ffv1", rate=_FPS, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = width, 2 * height, "gray"
        bar = tqdm(
            pairs, total=probe_video(media).num_frames, desc=media.name, unit=" frames", delay=1,
            leave=False,
        )  # fmt: skip
        for number, (_, flow) in enumerate(bar):
            planes = np.ascontiguousarray(np.moveaxis(flow, 2, 0))
            frame = av.VideoFrame.from_ndarray(planes.reshape(-1, width), format="gray")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return number + 1


def is_valid_cache(path: Path, media: Path, method: FlowMethod) -> bool:
    """Whether `path` is a cache of `media` by `method`, according to its metadata."""
    try:
        with open_video(path, threads=1) as (container, _):
            record = _record(container.metadata)
    except InputError:
        return False
    return record.get("method") == method and record.get("bytes") == _file_size(media)


def read_cache(
    path: Path, media: Path, method: FlowMethod, start: int = 0, stop: int | None = None
) -> Iterator[np.ndarray]:
    """Reads the flow of the frames start, start + 1, ... before stop, or to the end.

    Args:
        path: the cache.
        media: the video that it must belong to.
        method: the method that it must have been computed with.
        start, stop: frames, from 0.

    Yields:
        (h, w, 2) uint8.

    Raises:
        InputError: it is damaged, or belongs to another method or another file.
    """
    import av

    with open_video(path, threads=1) as (container, stream):
        record = _record(container.metadata)
        if record.get("method") != method or record.get("bytes") != _file_size(media):
            raise InputError(f"{path}: {_describe_mismatch(media, method)}")
        assert stream.time_base is not None
        try:
            if start:
                container.seek(round(start / _FPS / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise ValueError("a frame without a time")
                number = round(frame.pts * stream.time_base * _FPS)
                if stop is not None and number >= stop:
                    return
                if number < start:
                    continue
                planes = frame.to_ndarray().reshape(2, frame.height // 2, frame.width)
                yield np.ascontiguousarray(np.moveaxis(planes, 0, 2))
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{path}: is damaged ({reason}); {_describe_remedy(media, method)}"
            ) from error


def read_frames_with_flow(
    media: Path, start: int, stop: int, method: FlowMethod = "tvl1"
) -> Iterator[np.ndarray]:
    """Reads frames as `media.read_frames` does, with flow from the cache or computed on the fly.

    Yields:
        (H, W, 5) uint8, RGB and flow.

    Raises:
        InputError: the video cannot be read, or the cache does not fit.
    """
    cache = cache_path(media, method)
    if cache.is_file():
        yield from _stack_cached(read_frames(media, start, stop), cache, media, method, start, stop)
        return
    # The flow of the last frame needs the next one; that of the video's last frame is that of the
    # frame before.
    first = max(0, start - 1)
    frames = read_frames(media, first, stop + 1)
    yield from islice(append_flow(frames, method), start - first, stop - first)


def append_cached_flow(
    frames: Iterable[np.ndarray],
    media: Path,
    method: FlowMethod = "tvl1",
    cache: Path | None = None,
) -> Iterator[np.ndarray]:
    """Appends flow to all frames of a video: from a cache, or computed in constant memory.

    Args:
        frames: (H, W, 3) uint8 RGB, from the first one on.
        media: the video.
        method: see `compute_flow`.
        cache: its flow; None is the cache beside `media`, if there is one.

    Yields:
        (H, W, 5) uint8, RGB and flow.

    Raises:
        InputError: the cache does not fit.
    """
    cache = cache or cache_path(media, method)
    if cache.is_file():
        return _stack_cached(frames, cache, media, method)
    return append_flow(frames, method, threads=0)


def _stack_cached(
    frames: Iterable[np.ndarray],
    cache: Path,
    media: Path,
    method: FlowMethod,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[np.ndarray]:
    flows = read_cache(cache, media, method, start, stop)
    for frame in frames:
        flow = next(flows, None)
        if flow is None or flow.shape[:2] != flow_size(*frame.shape[:2]):
            raise InputError(f"{cache}: {_describe_mismatch(media, method)}")
        yield stack_flow(frame, flow)


def _record(metadata: Any) -> dict[str, Any]:
    """The metadata of a cache; empty where the file is not a cache."""
    for key, value in metadata.items():
        if key.lower() == "comment":
            try:
                return dict(parse_json(value, "comment")["actiontubes-flow"])
            except (ValueError, LookupError, TypeError):
                break
    return {}


def _file_size(media: Path) -> int:
    """Bytes of a video file, which tell it from another; 0 for a folder of frames."""
    return media.stat().st_size if media.is_file() else 0


def _describe_mismatch(media: Path, method: FlowMethod) -> str:
    return f"is not the {method} flow of {media}; {_describe_remedy(media, method)}"


def _describe_remedy(media: Path, method: FlowMethod) -> str:
    return f"delete it, or run `actiontubes flow {media} --method {method}`"
