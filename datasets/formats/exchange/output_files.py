"""Where the file of a video is written, whose name may stand in anybody's table."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ...errors import InputError


def file_of_video(folder: Path, video: str, suffix: str) -> Path:
    """<folder>/<video><suffix>; folders in the name of the video become folders.

    Raises:
        InputError: the name leads out of the folder, or no file can have it.
    """
    parts = PurePosixPath(video.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in video or ":" in parts[0]:
        raise InputError(f"{folder}: video {video!r} cannot be the name of a file; rename it")
    return folder.joinpath(*parts[:-1], f"{parts[-1]}{suffix}")
