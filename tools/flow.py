"""The command `actiontubes flow`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from ..datasets.errors import InputError, error_line
from ..datasets.video.find import DRAWN_FLOW_SUFFIX, expand_video_paths


def flow(
    videos: list[Path],
    *,
    method: Literal["tvl1", "dis"] = "tvl1",
    out: Path | None = None,
    no_drawing: bool = False,
    overwrite: bool = False,
) -> int:
    """Compute the optical flow of videos once, and draw it.

    Writes VIDEO.tvl1.flow or VIDEO.dis.flow beside each video, which `train` and `detect` use
    instead of computing flow again, and VIDEO.flow.mp4: each frame beside its flow in color (white
    is still, red moves right, violet up). Flow points to the next frame and is clipped at 20
    pixels; it has the video's own size, or a short side of 256 pixels. Existing files are kept, so
    a stopped run can be continued.

    Args:
        videos: Video files, folders of videos or of frames (00001.jpg, ...), patterns such as
            'clips/*.avi', or .txt files with one path a line.
        method: tvl1 (as in the paper; up to a second a frame on one core) or dis (much faster).
        out: Output folder. `train` and `detect` find flow only beside the videos, so move the files
            there before you use them.
        no_drawing: Do not write drawn videos.
        overwrite: Compute existing files again.
    """
    from ..datasets.flow.cache import cache_path, is_valid_cache, write_cache
    from ..datasets.flow.colors import draw_flow_video

    failed = 0
    for media in expand_video_paths(videos):
        cache = cache_path(media, method)
        if out is not None:
            cache = out / cache.name
        drawn = cache.with_name(media.name + DRAWN_FLOW_SUFFIX)
        try:
            if not overwrite and is_valid_cache(cache, media, method):
                print(f"{cache}: already exists, kept")
            else:
                frames = write_cache(media, cache, method)
                print(f"{cache}: {frames} frames, {cache.stat().st_size / 1e6:.1f} MB")
            if not no_drawing and (overwrite or not drawn.is_file()):
                draw_flow_video(media, cache, drawn, method)
                print(drawn)
        except (InputError, OSError) as error:
            print(f"actiontubes flow: {error_line(error)}", file=sys.stderr)
            failed += 1
    return 2 if failed else 0
