"""Flow kept in a file beside its video, so that it is computed once.

A cache is a Matroska file of FFV1, which is lossless: a grey picture a frame, the x-components
(uint8, see `flow`) above the y-components. Every frame stands by itself, so that any clip is read
without what comes before it. On UCF101-24's videos a frame takes 1.5 kB from a still camera
(320x240) and 15 to 20 kB from a moving one (340x256), of 174 kB in memory and 696 kB as float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import atomic_write
from ..video.decode import open_video
from ..video.media import read_frames
from . import FlowMethod
from .estimate import append_flow, flow_size, iter_flow, stack_flow

_RATE = 25  # frame k of a cache is shown at k / 25 s, whatever the video's rate
NO_END = 2**31


def cache_path(media: Path, method: FlowMethod) -> Path:
    """Where the flow of a video file, or of a folder of frames, is looked for: beside it."""
    return media.with_name(f"{media.name}.{method}.flow")


def write_cache(media: Path, path: Path, method: FlowMethod = "tvl1") -> int:
    """Computes the flow of a video and writes it, whole or not at all; shows a bar meanwhile.

    Args:
        media: a video file, or a folder of frames named from 00001.
        path: `cache_path`, to be found by the other functions of this module.
        method: see `flow.flow`.

    Returns:
        the number of frames.

    Raises:
        InputError: the video cannot be read, or the file not be written.
    """
    import av
    from tqdm import tqdm

    pairs = iter_flow(read_frames(media, 0, NO_END), method, threads=0)
    first = next(pairs, None)
    if first is None:
        raise InputError(
            f"{media}: contains no 00001.png or 00001.jpg; frames must be named from 00001"
        )
    height, width = first[1].shape[:2]
    record = {"method": method, "height": height, "width": width, "bytes": _bytes(media)}
    number = -1
    try:
        with (
            atomic_write(path) as temporary,
            av.open(f"file:{temporary}", "w", format="matroska") as container,
        ):
            container.metadata["comment"] = json.dumps({"actiontubes-flow": record})
            stream: Any = container.add_stream("ffv1", rate=_RATE, options={"g": "1"})
            stream.width, stream.height, stream.pix_fmt = width, 2 * height, "gray"
            bar = tqdm(
                chain([first], pairs), total=frame_count_and_fps(media)[0], desc=media.name,
                unit=" frames", delay=1, leave=False,
            )  # fmt: skip
            for number, (_, field) in enumerate(bar):
                planes = np.ascontiguousarray(np.moveaxis(field, 2, 0))
                picture = av.VideoFrame.from_ndarray(planes.reshape(-1, width), format="gray")
                picture.pts = number
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: could not be written ({getattr(error, 'strerror', None) or error}); "
            "check the free disk space, or choose another folder"
        ) from error
    return number + 1


def frame_count_and_fps(media: Path) -> tuple[int | None, float]:
    """The number of frames, where that is known before they are read, and frames per second."""
    if media.is_dir():
        return None, float(_RATE)
    from ..video.reader import probe

    info = probe(media)
    return info.num_frames, info.fps if info.fps > 0 else float(_RATE)


def is_valid_cache(path: Path, media: Path, method: FlowMethod) -> bool:
    """Whether `path` is a cache of `media` by `method`, as far as it says itself."""
    try:
        with open_video(path, threads=1) as (container, _):
            record = _record(container.metadata)
    except InputError:
        return False
    return record.get("method") == method and record.get("bytes") == _bytes(media)


def read_cache(
    path: Path, media: Path, method: FlowMethod, start: int = 0, stop: int = NO_END
) -> Iterator[np.ndarray]:
    """The flow of the frames start, start + 1, ... before stop; it ends early where there are no
    more.

    Args:
        path: the cache.
        media: the video that it should be of.
        method: that it should be of.

    Yields:
        (h, w, 2) uint8.

    Raises:
        InputError: it is damaged, of another method or of another file than `media`.
    """
    import av

    with open_video(path, threads=1) as (container, stream):
        record = _record(container.metadata)
        if record.get("method") != method or record.get("bytes") != _bytes(media):
            raise InputError(f"{path}: {_unfit(media, method)}")
        height, width = int(record["height"]), int(record["width"])
        assert stream.time_base is not None
        try:
            if start:
                container.seek(round(start / _RATE / stream.time_base), stream=stream)
            for picture in container.decode(stream):
                assert picture.pts is not None
                number = round(picture.pts * stream.time_base * _RATE)
                if number >= stop:
                    return
                if number < start:
                    continue
                planes = picture.to_ndarray().reshape(2, height, width)
                yield np.ascontiguousarray(np.moveaxis(planes, 0, 2))
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path}: is damaged ({reason}); {_mend(media, method)}") from error


def read_frames_with_flow(
    media: Path, start: int, stop: int, method: FlowMethod = "tvl1"
) -> Iterator[np.ndarray]:
    """As `media.read_pictures`, with flow: from the cache beside `media`, or computed now.

    Yields:
        (H, W, 5) uint8, RGB and flow.

    Raises:
        InputError: the video cannot be read, or the cache does not fit.
    """
    cache = cache_path(media, method)
    if cache.is_file():
        yield from _joined(read_frames(media, start, stop), cache, media, method, start, stop)
        return
    # A picture more after them tells where the last one goes; the video's own last one takes the
    # flow of the picture before it.
    first = max(0, start - 1)
    pictures = read_frames(media, first, stop + 1)
    yield from islice(append_flow(pictures, method), start - first, stop - first)


def append_cached_flow(
    pictures: Iterable[np.ndarray],
    media: Path,
    method: FlowMethod = "tvl1",
    cache: Path | None = None,
) -> Iterator[np.ndarray]:
    """All pictures of a video, (H, W, 3) uint8 RGB from its first on, with flow, (H, W, 5).

    The flow comes from `cache`, or the one beside `media`, or is computed as the pictures come, in
    constant memory.

    Raises:
        InputError: the cache does not fit.
    """
    cache = cache or cache_path(media, method)
    if cache.is_file():
        return _joined(pictures, cache, media, method)
    return append_flow(pictures, method, threads=0)


def _joined(
    pictures: Iterable[np.ndarray],
    cache: Path,
    media: Path,
    method: FlowMethod,
    start: int = 0,
    stop: int = NO_END,
) -> Iterator[np.ndarray]:
    fields = read_cache(cache, media, method, start, stop)
    for picture in pictures:
        field = next(fields, None)
        if field is None or field.shape[:2] != flow_size(*picture.shape[:2]):
            raise InputError(f"{cache}: {_unfit(media, method)}")
        yield stack_flow(picture, field)


def _record(metadata: Any) -> dict[str, Any]:
    """What a cache says of itself; empty where the file is none."""
    for key, value in metadata.items():
        if key.lower() == "comment":
            try:
                return dict(json.loads(value)["actiontubes-flow"])
            except (ValueError, LookupError, TypeError):
                break
    return {}


def _bytes(media: Path) -> int:
    """A video file's size, by which another one is known; folders of frames are not told apart."""
    return media.stat().st_size if media.is_file() else 0


def _unfit(media: Path, method: FlowMethod) -> str:
    return f"is not the {method} flow of {media}; {_mend(media, method)}"


def _mend(media: Path, method: FlowMethod) -> str:
    return f"delete it, or run `actiontubes flow {media} --method {method}`"
