"""Videos rewritten for training: smaller, and with every frame decodable by itself.

Any clip of them can be read without decoding the frames before it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..storage.files import atomic_write
from .container import open_video
from .media import probe_video, read_frames, require_first
from .writer import raise_write_errors


def pack_videos(
    media: Mapping[str, Path], folder: Path, *, short_side: int = 320, quality: int = 3
) -> dict[str, Path]:
    """Writes each video as `<folder>/<name>.avi` of Motion JPEG, whole or not at all.

    Frame numbers and the playback speed stay the same; sound is dropped. Existing files with the
    same settings that are no older than their source are kept, so that a stopped run can be
    continued.

    Args:
        media: by name, such as "<class>/<video>", a video file or a folder of frames.
        folder: to give to `open_detection_sets` as `media`.
        short_side: pixels; larger videos are shrunk, others keep their size.
        quality: FFmpeg's quantizer, 1 (best) to 31; 3 takes about 14 kB a frame of 340 x 256.

    Returns:
        the files by name.

    Raises:
        InputError: a video cannot be read, or written; or its name leads out of the folder, or is
            another's.
    """
    from tqdm import tqdm

    if short_side < 1:
        raise InputError(f"--short-side {short_side}: must be 1 or more")
    if not 1 <= quality <= 31:
        raise InputError(f"quality {quality}: must be 1 (the best) to 31")
    settings = f"actiontubes: short side {short_side}, quality {quality}"
    packed = _packed_paths(media, folder)
    for name, path in tqdm(packed.items(), desc="packing videos", unit="video", delay=2):
        source = media[name]
        if path.exists() and path.samefile(source):
            raise InputError(
                f"--pack {folder}: would overwrite the video {path}; choose another folder"
            )
        if not _is_current(path, source, settings):
            _pack(source, path, short_side, quality, settings)
    return packed


def _packed_paths(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """The file of each video, below the folder whatever a table of names says."""
    names_by_path: dict[str, str] = {}
    for name in names:
        path = posixpath.normpath(name.replace("\\", "/"))
        if path.startswith(("../", "/")) or path in ("..", ".") or "\0" in path:
            raise InputError(f"--pack {folder}: the video's name {name} leads out of this folder")
        if path in names_by_path:
            raise InputError(
                f"--pack {folder}: the videos {names_by_path[path]} and {name} would be one file"
            )
        names_by_path[path] = name
    return {name: folder / f"{path}.avi" for path, name in names_by_path.items()}


def _is_current(path: Path, source: Path, settings: str) -> bool:
    if not path.is_file() or path.stat().st_mtime < source.stat().st_mtime:
        return False
    try:
        with open_video(path, threads=1) as (container, _):
            return container.metadata.get("comment") == settings
    except InputError:
        return False


def _pack(source: Path, path: Path, short_side: int, quality: int, settings: str) -> None:
    import av
    from av.video.reformatter import Colorspace

    first, frames = require_first(_frames(source, short_side), source)
    info = probe_video(source)
    rate = Fraction(info.shown_fps).limit_denominator(1001)
    with (
        raise_write_errors(path),
        atomic_write(path) as temporary,
        av.open(f"file:{temporary}", "w") as container,
    ):
        container.metadata["comment"] = settings
        stream = container.add_stream("mjpeg", rate=rate)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.sample_aspect_ratio = info.pixel_aspect
        stream.codec_context.qmin = stream.codec_context.qmax = quality
        for number, frame in enumerate(frames):
            image = av.VideoFrame.from_ndarray(frame).reformat(
                format="yuvj420p", dst_colorspace=Colorspace.ITU601
            )
            image.pts, image.time_base = number, 1 / rate
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


def _frames(source: Path, short_side: int) -> Iterator[np.ndarray]:
    """Frames with a short side of at most `short_side`, all of the first one's size."""
    import cv2

    size: tuple[int, int] | None = None
    for frame in read_frames(source):
        height, width = frame.shape[:2]
        if size is None:
            factor = min(1.0, short_side / min(height, width))
            size = max(1, round(width * factor)), max(1, round(height * factor))
        if (width, height) != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        yield frame
