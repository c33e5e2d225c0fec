"""Inference on many videos that can be stopped at any time and continued.

OUT/videos/NAME contains the results of one video, and a record of what made them (`RECORD`). The
folder gets its name when it is complete. The tables in OUT are joined from these folders at the
end: they replace those of an earlier run when all are complete, and `JOINED` records their sources.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...datasets.errors import InputError, as_option, some_of
from ...datasets.storage.files import atomic_write, rename_folder, write_json
from ...datasets.storage.remote import RemoteFile
from ...datasets.storage.text_files import read_json
from ...datasets.table_io import read_table
from ...datasets.table_writer import (
    OUTPUT_FILES,
    RESULT_FILES,
    concatenate_tables,
    errors_of_parquet,
)
from ...datasets.tables import Actions, Tracks, Tubes
from ...datasets.video.find import DRAWN_SUFFIX, VideoSource
from ...datasets.video_names import folder_name, shorten_path
from ..boxes.nms import nms_across_classes
from ..linking.actions import boxes_of_actions
from ..visualization.video import draw_video
from .tubes.video_output import VideoSummary, WriteTables

RECORD = "record.json"
_OLD_RECORD = "old_record.json"  # of results that are to be replaced
_UNFINISHED = ".part"  # behind a dot and the name of a video's folder
JOINED = ".joined.json"
_DRAWN_RECORD = "drawn.json"
_OLD_KEYS = {"every": "key_frame_step", "scene": "scene_weight"}  # in records of version 0.1
_ADDED_KEYS = {"proposal_step": 1}  # what records without these keys were made with
Identity = Mapping[str, Any]
"""What results depend on besides the video, by option: plain values, comparable as JSON."""
OpenVideo = Callable[[Path, str], AbstractContextManager[WriteTables]]
"""A path and a name → a context in which a function writes the tables of the video to a folder.

Reading may begin with the context, before the function is called.
"""


@dataclass(frozen=True)
class VideoJob:
    """One video of a run.

    Attributes:
        path: the file; of one at an address, its path there, by which tables know it.
        name: as in the tables.
        folder: of its results.
        drawn: path of the drawn copy.
        remote: the file at an address.
        attempt: a folder in that of unfinished results, where several processes may be at it.
    """

    path: Path
    name: str
    folder: Path
    drawn: Path
    remote: RemoteFile | None = None
    attempt: str = ""

    @property
    def shown(self) -> str:
        """The video as messages and records name it."""
        return str(self.path) if self.remote is None else self.remote.shown

    @property
    def unfinished(self) -> Path:
        """Where its results are written until they are complete."""
        return self.folder.with_name(f".{self.folder.name}{_UNFINISHED}") / self.attempt

    @property
    def downloaded(self) -> Path:
        """The folder for a copy of a file at an address; no video's name begins with a dot."""
        return self.folder.with_name(f"..{self.folder.name}{_UNFINISHED}") / self.attempt

    def state(self) -> list[Any] | None:
        """What tells versions of the file apart; None where it cannot be read now."""
        if self.remote is None:
            return _file_state(self.path) if self.path.exists() else None
        try:
            return self.remote.state()
        except InputError:
            return None


@dataclass
class _Started:
    """A video that is being read.

    Attributes:
        path: of the file on this machine.
        state: of the file before it is read.
        write: writes its tables; the error of opening it; or None if it has results.
        files: the context of the copy of a remote file.
        reader: the context of `write`.
    """

    path: Path
    state: list[Any] | None = None
    write: WriteTables | Exception | None = None
    files: ExitStack = field(default_factory=ExitStack)
    reader: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        self.reader.close()
        self.files.close()


@dataclass(frozen=True)
class DrawOptions:
    """What the drawn copies show.

    Attributes:
        one_label: draw only the best of tubes that overlap in a frame, whatever their classes, as
            their linker does not know persons; the tables keep all.
        trail: see `draw_video`.
    """

    one_label: bool
    trail: bool = False


def plan_jobs(out: Path, sources: Sequence[VideoSource], names: Sequence[str]) -> list[VideoJob]:
    """The videos, with the paths of their results in the folder `out`."""
    return [
        VideoJob(
            source.path if isinstance(source, RemoteFile) else source,
            name,
            out / "videos" / folder_name(name),
            out / f"{shorten_path(name)}{DRAWN_SUFFIX}",
            source if isinstance(source, RemoteFile) else None,
        )
        for source, name in zip(sources, names, strict=True)
    ]


def finished_jobs(jobs: Sequence[VideoJob], identity: Identity) -> dict[str, dict[str, Any]]:
    """The records of the videos that are done, by name.

    Args:
        jobs: all videos of this run.
        identity: see `Identity`.

    Raises:
        InputError: a folder contains results that were made with other options, or from another
            file, or that are damaged.

    Warns:
        A folder lacks a file; the video is processed again.
    """
    records = {}
    from pyarrow.parquet import ParquetFile

    new = _ADDED_KEYS | json.loads(json.dumps(identity))
    for job in jobs:
        record = read_record(job)
        if record is None:
            missing = [name for name in RESULT_FILES if not (job.folder / name).is_file()]
            if (job.folder / RECORD).is_file():
                warnings.warn(
                    f"{job.folder}: {', '.join(missing)} is missing; the video is processed again",
                    stacklevel=2,
                )
            continue
        old = {_OLD_KEYS.get(key, key): value for key, value in record["settings"].items()}
        old = _ADDED_KEYS | old
        differences = [key for key in {**new, **old} if new.get(key) != old.get(key)]
        if differences:
            # With or without a checkpoint, a run has different options.
            key = "checkpoint" if "checkpoint" in differences else differences[0]
            raise InputError(
                f"{job.folder}: contains results made {_describe(key, old.get(key))}, and this "
                f"run is {_describe(key, new.get(key))}; choose another --out, or give "
                "--overwrite"
            )
        # Whether a missing file matters is decided where it is opened.
        if record["video"] != (job.state() or record["video"]):
            raise InputError(
                f"{job.folder}: contains results of another {job.shown}, or of an earlier "
                "version of it; delete the folder, choose another --out, or give --overwrite"
            )
        for name in RESULT_FILES:
            if name.endswith(".parquet"):
                with errors_of_parquet(job.folder / name), ParquetFile(job.folder / name):
                    pass
        records[job.name] = record
    return records


def _describe(key: str, value: Any) -> str:
    """An option of a run in words."""
    option = as_option(key)
    if value is None:
        return f"without {option}"
    if isinstance(value, str) and len(value) == 64:
        value = f"with SHA-256 {value[:8]}..."
    if isinstance(value, list):
        value = some_of(value)
    return f"with {option} {value}"


def has_results(job: VideoJob) -> bool:
    """Whether a video's folder has all its files."""
    return all((job.folder / name).is_file() for name in (RECORD, *RESULT_FILES))


def read_record(job: VideoJob) -> dict[str, Any] | None:
    """The record of a video's results, or None if there are none, or a file is missing."""
    if not has_results(job):
        return None
    path = job.folder / RECORD
    try:
        record = read_json(path)
        if {"settings", "video", "frames", "tubes"} <= set(record):
            return record | {"settings": dict(record["settings"])}
    except (ValueError, TypeError):
        pass
    raise InputError(f"{path}: is damaged; delete its folder, or give --overwrite")


def _file_state(path: Path) -> list[int]:
    """Size in bytes and time of change in nanoseconds, to recognize a changed file or folder."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def process_videos(
    jobs: Sequence[VideoJob],
    open_video: OpenVideo,
    identity: Identity,
    drawing: DrawOptions | None,
) -> Iterator[tuple[VideoJob, VideoSummary | Exception | None]]:
    """Runs inference on videos one after the other, while the next one is being read.

    Args:
        jobs: the videos of this process. Those with results are only drawn, if that is missing.
        open_video: see `OpenVideo`.
        identity: see `Identity`.
        drawing: of a copy with the tubes drawn; None makes no copies.

    Yields:
        each video with its summary, None if it had results, or the error that it failed with.
    """
    following: _Started | None = None
    try:
        for number, job in enumerate(jobs):
            current = following or _start(job, open_video, drawing)
            following = None
            if number + 1 < len(jobs):
                following = _start(jobs[number + 1], open_video, drawing)
            try:
                summary = None
                with current.files:
                    with current.reader:
                        if isinstance(current.write, Exception):
                            raise current.write
                        if current.write is not None:
                            summary = _write_results(job, current, identity)
                    if drawing is not None and not is_done(job, drawing):
                        _draw(job, current.path, drawing)
            except Exception as error:  # of any library: no video stops the others
                yield job, _with_address(error, job, current.path)
            else:
                yield job, summary
    finally:
        if following is not None:
            following.close()


def _start(job: VideoJob, open_video: OpenVideo, drawing: DrawOptions | None) -> _Started:
    """Begins to read a video; one at an address is downloaded first."""
    started = _Started(job.path)
    try:
        if is_done(job, drawing):
            return started
        if job.remote is None:
            started.state = job.state()
        else:
            context = job.remote.download(job.downloaded, progress=True)
            started.path, started.state = started.files.enter_context(context)
        if not has_results(job):
            started.write = started.reader.enter_context(open_video(started.path, job.name))
    except Exception as error:
        started.write = error
    return started


def _with_address(error: Exception, job: VideoJob, copy: Path) -> Exception:
    """An error that names the address where it named the copy, which is deleted."""
    if copy == job.path or not isinstance(error, InputError):
        return error
    return InputError(str(error).replace(str(copy), job.shown))


def _write_results(job: VideoJob, started: _Started, identity: Identity) -> VideoSummary:
    """Runs a started video in a temporary folder, which it renames when all is written."""
    assert callable(started.write)
    shutil.rmtree(job.unfinished, ignore_errors=True)  # of a run that was killed
    job.unfinished.mkdir(parents=True)
    try:
        summary = started.write(job.unfinished)
        if job.remote is None and started.state is not None and job.state() != started.state:
            raise InputError(
                f"{job.path}: changed or was deleted while it was being read; run again"
            )
        record = {
            "settings": identity, "video": started.state, "path": job.shown, "name": job.name,
            "frames": summary.num_frames, "tubes": summary.tubes,
        }  # fmt: skip
        write_json(record, job.unfinished / RECORD)
        rename_folder(job.unfinished, job.folder)
    finally:
        shutil.rmtree(job.unfinished, ignore_errors=True)
    return summary


def _draw(job: VideoJob, path: Path, drawing: DrawOptions) -> None:
    tubes = read_table(Tubes, job.folder / OUTPUT_FILES.tubes)
    actions = read_table(Actions, job.folder / OUTPUT_FILES.actions)
    tubes = boxes_of_actions(tubes, actions)
    if drawing.one_label:
        tubes = nms_across_classes(tubes)
    # A linker that does not know persons has tracks of those, too, who are left out here.
    tracks = None if drawing.one_label else read_table(Tracks, job.folder / OUTPUT_FILES.tracks)
    draw_video(path, tubes, job.drawn, tracks=tracks, clock=True, trail=drawing.trail)
    write_json(asdict(drawing), job.folder / _DRAWN_RECORD)


def is_done(job: VideoJob, drawing: DrawOptions | None) -> bool:
    """Whether a video has results and, if it is to be drawn, a copy drawn with these options."""
    if not has_results(job):
        return False
    record = job.folder / _DRAWN_RECORD
    return drawing is None or (
        job.drawn.is_file() and record.is_file() and read_json(record) == asdict(drawing)
    )


def playable_files(jobs: Sequence[VideoJob]) -> dict[str, Path]:
    """By name, what a page plays of the videos with results: the drawn copies, else the files."""
    media = {job.name: job.drawn if job.drawn.is_file() else job.path for job in jobs
             if job.remote is None or job.drawn.is_file()}  # fmt: skip
    return {name: path for name, path in media.items() if path.is_file()}


def set_aside(jobs: Sequence[VideoJob]) -> None:
    """Lets videos with results count as not done; their results are replaced by the next ones."""
    for job in jobs:
        if (job.folder / RECORD).is_file():
            (job.folder / RECORD).replace(job.folder / _OLD_RECORD)


def delete_unfinished(out: Path) -> None:
    """Deletes what runs that were killed left half-written; no other run may be in the folder."""
    for path in (out / "videos").glob(f".*{_UNFINISHED}"):
        shutil.rmtree(path, ignore_errors=True)


def join_results(jobs: Sequence[VideoJob], out: Path) -> tuple[int, bool]:
    """Joins the results of videos into the `RESULT_FILES` of `out`; without results, writes none.

    Args:
        jobs: the videos in the order of the tables; those without results are skipped.

    Returns:
        the number of frames of these videos, and whether the tables were joined now: not if they
        are those of an earlier run.

    Raises:
        InputError: the results of a video are damaged; the old tables are unchanged.
    """
    records = [(job, record) for job in jobs if (record := read_record(job))]
    num_frames = sum(record["frames"] for _, record in records)
    sources = [[job.name, *_file_state(job.folder / RECORD)] for job, _ in records]
    joined = out / "videos" / JOINED
    files = [joined, *(out / name for name in RESULT_FILES)]
    is_complete = all(path.is_file() for path in files)
    if not records or (is_complete and joined.read_text("utf-8") == json.dumps(sources)):
        return num_frames, False
    joined.unlink(missing_ok=True)
    folders = [job.folder for job, _ in records]
    concatenate_tables(folders, [record["tubes"] for _, record in records], out)
    with atomic_write(joined) as temporary:
        temporary.write_text(json.dumps(sources), "utf-8")
    return num_frames, True
