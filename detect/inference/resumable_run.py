"""Many videos, safely: each one's results whole or not there, taken up where a run was stopped.

OUT/videos/NAME holds what was found in one video, and what it was found with (`RECORD`). The
folder comes into place by a rename, so it is whole wherever it is. The tables in OUT are joined
from these folders at the end, and taken away as soon as one of them changes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...datasets.errors import InputError, some_of
from ...datasets.files import write_json
from ...datasets.table_io import read_table
from ...datasets.table_writer import OUTPUT_FILES, RESULT_FILES, concatenate_tables
from ...datasets.tables import Tubes
from ...datasets.video.find import DRAWN_SUFFIX
from ...datasets.video_names import folder_name
from ..boxes.nms import nms_across_classes
from ..visualization.video import draw_video
from .video_output import VideoSummary

RECORD = "record.json"
_DRAWN_RECORD = "drawn.json"
Settings = Mapping[str, Any]
OpenVideo = Callable[[Path, str], AbstractContextManager[Callable[[Path], VideoSummary]]]
"""A video and its name → a block in which a function writes its tables to a folder.

Reading may begin with the block, before the function is called.
"""


@dataclass(frozen=True)
class VideoJob:
    """A video to look at.

    Attributes:
        path: the file.
        name: as in the tables.
        folder: of its results.
        drawn: the drawn copy.
    """

    path: Path
    name: str
    folder: Path
    drawn: Path


@dataclass(frozen=True)
class DrawOptions:
    """What the drawn copies show.

    Attributes:
        one_label: of tubes that overlap in a frame, whatever their classes, only the best; the
            tables keep all.
        trail: see `draw_video`.
    """

    one_label: bool
    trail: bool = False


def plan_jobs(out: Path, paths: Sequence[Path], names: Sequence[str]) -> list[VideoJob]:
    """The videos, with the places of their results in the folder `out`."""
    below = out / "videos"
    return [
        VideoJob(path, name, below / folder_name(name), out / f"{name}{DRAWN_SUFFIX}")
        for path, name in zip(paths, names, strict=True)
    ]


def finished_jobs(videos: Sequence[VideoJob], settings: Settings) -> dict[str, dict[str, Any]]:
    """The records of the videos that are done, by name.

    Args:
        videos: all of this run.
        settings: what results depend on beside the video: plain values, comparable as JSON.

    Raises:
        InputError: results are there which were made with other settings, or from a file that is
            not this one.
    """
    records = {}
    wanted = json.loads(json.dumps(settings))
    for video in videos:
        record = read_record(video)
        if record is None:
            continue
        made = record["settings"]
        differs = [key for key in {**wanted, **made} if wanted.get(key) != made.get(key)]
        if differs:
            # Trained or not decides which of the others there are.
            key = "checkpoint" if "checkpoint" in differs else differs[0]
            raise InputError(
                f"{video.folder}: contains results made {_told(key, made.get(key))}, and this "
                f"run is {_told(key, wanted.get(key))}; choose another --out, or give "
                "--overwrite"
            )
        # A file that is gone was looked at when it was there; opening it will tell.
        if video.path.is_file() and record["video"] != _state(video.path):
            raise InputError(
                f"{video.folder}: contains results of another {video.path}, or of an earlier "
                "version of it; delete the folder, choose another --out, or give --overwrite"
            )
        records[video.name] = record
    return records


def _told(key: str, value: Any) -> str:
    if value is None:
        return f"without --{key}"
    if isinstance(value, str) and len(value) == 64:
        value = f"with SHA-256 {value[:8]}..."
    if isinstance(value, list):
        value = some_of(value)
    return f"with --{key} {value}"


def read_record(video: VideoJob) -> dict[str, Any] | None:
    """The record of a video's results, or None where there are none."""
    path = video.folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if {"settings", "video", "frames", "tubes"} <= set(record):
            return record
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        pass
    raise InputError(f"{path}: is damaged; delete its folder, or give --overwrite")


def _state(path: Path) -> list[int]:
    """What tells whether a file is the same: its size in bytes and its time in nanoseconds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def process_videos(
    videos: Sequence[VideoJob],
    start: OpenVideo,
    settings: Settings,
    out: Path,
    drawing: DrawOptions | None,
) -> Iterator[tuple[VideoJob, VideoSummary | Exception | None]]:
    """Looks at videos one after the other, while the next one is being read.

    Args:
        videos: of this process. Those with results are only drawn, where that is missing.
        start: see `OpenVideo`.
        settings: see `finished_jobs`.
        out: the folder of the joined tables, which are taken away once they no longer hold.
        drawing: of a copy with the tubes drawn; None makes no copies.

    Yields:
        each video with what was found in it, None where that was known, or the InputError or
        OSError that it failed with.
    """
    following: _Begun | None = None
    try:
        for number, video in enumerate(videos):
            now = following or _begin(video, start)
            following = _begin(videos[number + 1], start) if number + 1 < len(videos) else None
            try:
                summary = None
                with now.block:
                    if now.error is not None:
                        raise now.error
                    if now.run is not None:
                        summary = _write_results(video, now.run, settings, out)
                if not is_done(video, drawing):
                    assert drawing is not None
                    _draw(video, drawing)
            except (InputError, OSError) as error:
                yield video, error
            else:
                yield video, summary
    finally:
        if following is not None:
            following.block.close()


@dataclass(frozen=True)
class _Begun:
    """A video that is being read: the block that ends it, and what runs in it or why not."""

    block: ExitStack
    run: Callable[[Path], VideoSummary] | None = None
    error: Exception | None = None


def _begin(video: VideoJob, start: OpenVideo) -> _Begun:
    block = ExitStack()
    if (video.folder / RECORD).is_file():
        return _Begun(block)
    try:
        return _Begun(block, block.enter_context(start(video.path, video.name)))
    except (InputError, OSError) as error:
        return _Begun(block, error=error)


def _write_results(
    video: VideoJob, run: Callable[[Path], VideoSummary], settings: Settings, out: Path
) -> VideoSummary:
    """Runs a started video and puts its folder into place."""
    before = _state(video.path) if video.path.is_file() else None
    unfinished = video.folder.with_name(f".{video.folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    unfinished.mkdir(parents=True)
    try:
        summary = run(unfinished)
        if not video.path.is_file() or _state(video.path) != before:
            raise InputError(
                f"{video.path}: changed or was deleted while it was being read; run again"
            )
        record = {
            "settings": settings, "video": before, "path": str(video.path), "name": video.name,
            "frames": summary.num_frames, "tubes": summary.tubes,
        }  # fmt: skip
        write_json(record, unfinished / RECORD)
        for name in RESULT_FILES:
            (out / name).unlink(missing_ok=True)
        unfinished.rename(video.folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return summary


def _draw(video: VideoJob, drawing: DrawOptions) -> None:
    tubes = read_table(Tubes, video.folder / OUTPUT_FILES.tubes)
    if drawing.one_label:
        tubes = nms_across_classes(tubes)
    draw_video(video.path, tubes, video.drawn, trail=drawing.trail)
    write_json(asdict(drawing), video.folder / _DRAWN_RECORD)


def is_done(video: VideoJob, drawing: DrawOptions | None) -> bool:
    """Whether the video has results, and where it is to be drawn, a copy drawn from them."""
    if not (video.folder / RECORD).is_file():
        return False
    record = video.folder / _DRAWN_RECORD
    return drawing is None or (
        video.drawn.is_file()
        and record.is_file()
        and json.loads(record.read_text(encoding="utf-8")) == asdict(drawing)
    )


def delete_results(videos: Sequence[VideoJob], out: Path) -> None:
    """Takes the results of videos away, so that they are made anew."""
    for name in RESULT_FILES:
        (out / name).unlink(missing_ok=True)
    for video in videos:
        # First its record, without which the folder's content counts for nothing.
        (video.folder / RECORD).unlink(missing_ok=True)
        if video.folder.is_dir():
            shutil.rmtree(video.folder)


def join_results(videos: Sequence[VideoJob], out: Path) -> int:
    """Joins the results of videos into the `RESULT_FILES` of `out`; there are none without results.

    Args:
        videos: in the order of the tables; those without results are passed over.

    Returns:
        how many frames these videos have.
    """
    for name in RESULT_FILES:
        (out / name).unlink(missing_ok=True)
    records = [(video, record) for video in videos if (record := read_record(video))]
    if records:
        folders = [video.folder for video, _ in records]
        concatenate_tables(folders, [record["tubes"] for _, record in records], out)
    return sum(record["frames"] for _, record in records)
