"""A page that shows who does what and when, next to the videos; it needs no network.

The template is results.html.j2, and results.js draws the timelines and the table from the data in
the page.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...datasets.labels import remap_codes
from ...datasets.storage.files import atomic_write
from ...datasets.storage.parquet_file import open_parquet
from ...datasets.table_io import read_table
from ...datasets.table_writer import OUTPUT_FILES
from ...datasets.tables import Actions, Tracks, Videos, concatenate_rows, select_rows
from .frame import PALETTE, text_color

PAGE = "index.html"
_ROWS_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class Spans:
    """When people are seen, whatever they do; one row a run of frames, S in all.

    Attributes:
        video: (S,) int64, index into `video_names`.
        person: (S,) int64, from 1, unique in its video.
        first_frame, last_frame: (S,) int64, counted from 0.
        video_names: the names.
    """

    video: np.ndarray
    person: np.ndarray
    first_frame: np.ndarray
    last_frame: np.ndarray
    video_names: tuple[str, ...]


def write_folder_page(folder: Path, media: Mapping[str, Path]) -> Path:
    """Writes index.html from the tables in a folder of results, in little memory.

    Args:
        folder: has actions.csv, tracks.parquet and videos.parquet.
        media: by the name of a video, the file that the page plays.

    Raises:
        InputError: a table is damaged.
        OSError: a table is missing, or the page cannot be written.
    """
    videos = read_table(Videos, folder / OUTPUT_FILES.videos)
    actions = read_table(Actions, folder / OUTPUT_FILES.actions)
    spans = read_spans(folder / OUTPUT_FILES.tracks, videos.video)
    return write_results_page(folder, videos, actions, spans, media)


def write_results_page(
    folder: Path, videos: Videos, actions: Actions, seen: Spans, media: Mapping[str, Path]
) -> Path:
    """Writes index.html and returns its path; all text in it is escaped.

    Args:
        folder: created if necessary; actions.csv is beside the page.
        videos: each gets a timeline, in this order.
        actions: what people do. Where start and end are NaN, the page counts frames.
        seen: when people are seen.
        media: by the name of a video, the file that the page plays; its first frame is at 0 s.

    Raises:
        OSError: the page cannot be written.
    """
    names = {name: index for index, name in enumerate(videos.video)}
    labels = sorted({actions.label_names[label] for label in np.unique(actions.label).tolist()})
    label = remap_codes(actions.label, actions.label_names, labels)
    actions = replace(actions, label=label, label_names=tuple(labels))
    action_video = _in_order(actions.video, actions.video_names, names)
    seen_video = _in_order(seen.video, seen.video_names, names)
    entries = []
    for index, name in enumerate(videos.video):
        mine = select_rows(actions, action_video == index)
        entry = _describe_video(videos, index, mine, select_rows(seen, seen_video == index))
        entries.append(entry | {"source": _relative_address(media.get(name), folder)})
    people = sum(len(entry["people"]) for entry in entries)
    data = {
        "labels": labels,
        "colors": [[_css(color), _css(text_color(color))] for color in PALETTE],
        "videos": entries,
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    counts = ((len(videos), "video"), (people, "person"), (len(actions), "action"))
    text = environment.get_template("results.html.j2").render(
        title="Who does what", data=data, csv=OUTPUT_FILES.actions,
        subtitle=", ".join(_count(number, noun) for number, noun in counts) + ".",
    )  # fmt: skip
    path = folder / PAGE
    if not (path.is_file() and path.read_bytes() == text.encode()):
        with atomic_write(path) as temporary:
            temporary.write_bytes(text.encode())
    return path


def find_spans(tracks: Tracks) -> Spans:
    """When the people of tracks are seen."""
    order = np.lexsort((tracks.frame, tracks.person, tracks.video))
    frame = tracks.frame[order].astype(np.int64)
    rows = Spans(
        video=tracks.video[order].astype(np.int64), person=tracks.person[order].astype(np.int64),
        first_frame=frame, last_frame=frame, video_names=tracks.video_names,
    )  # fmt: skip
    return _join_runs(rows)


def read_spans(path: Path, names: tuple[str, ...]) -> Spans:
    """When the people of a table of tracks are seen, in memory that does not grow with its rows.

    Args:
        path: tracks.parquet.
        names: of the videos; rows of other videos are passed over.

    Raises:
        InputError: the file is damaged.
        OSError: the file cannot be opened.
    """
    nothing = np.empty(0, np.int64)
    spans = Spans(nothing, nothing, nothing, nothing, names)
    for rows in _iter_span_rows(path, names):
        joined = concatenate_rows([spans, rows])
        order = np.lexsort((joined.first_frame, joined.person, joined.video))
        spans = _join_runs(select_rows(joined, order))
    return spans


def _iter_span_rows(path: Path, names: tuple[str, ...]) -> Iterator[Spans]:
    """The rows of a table of tracks, each as a span of one frame, some at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = ["video", "person", "frame"]
    with open_parquet(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
            video = pc.index_in(batch["video"].cast(pa.string()), pa.array(names, pa.string()))
            video = pc.fill_null(video, -1).to_numpy(zero_copy_only=False).astype(np.int64)
            person, frame = (
                batch[name].to_numpy(zero_copy_only=False).astype(np.int64) for name in columns[1:]
            )
            rows = Spans(video, person, frame, frame, names)
            yield select_rows(rows, video >= 0)


def _join_runs(spans: Spans) -> Spans:
    """Joins the spans that follow one another; sorted by video, person and first frame."""
    if not len(spans.video):
        return spans
    is_new = np.ones(len(spans.video), bool)
    is_new[1:] = (
        (np.diff(spans.video) != 0) | (np.diff(spans.person) != 0)
        | (spans.first_frame[1:] > spans.last_frame[:-1] + 1)
    )  # fmt: skip
    start = np.flatnonzero(is_new)
    last = np.maximum.reduceat(spans.last_frame, start)
    return replace(select_rows(spans, start), last_frame=last)


def _in_order(codes: np.ndarray, own: tuple[str, ...], names: Mapping[str, int]) -> np.ndarray:
    """The codes of videos as places in the table of videos, -1 where a name is not there."""
    places = np.array([names.get(name, -1) for name in own] or [-1], np.int64)
    return places[codes]


def _describe_video(videos: Videos, index: int, actions: Actions, seen: Spans) -> dict[str, Any]:
    """What results.js draws of a video: people with lanes, actions as rows of a lane."""
    fps, num_frames = float(videos.fps[index]), int(videos.num_frames[index])
    in_seconds = bool(np.isfinite(fps) and np.isfinite(actions.start).all())
    start, end = actions.start, actions.end
    if not in_seconds:
        start, end = actions.first_frame.astype(float), actions.last_frame + 1.0
    # The rate of a video may vary: what is known of its frames' times comes first.
    frames = np.concatenate([actions.first_frame, actions.last_frame + 1, [0, num_frames]])
    ends = np.array([0, num_frames]) / (fps if in_seconds else 1)
    frames, known = np.unique(frames, return_index=True)
    times = np.concatenate([start, end, ends])[known]
    seen_start = np.interp(seen.first_frame, frames, times)
    seen_end = np.interp(seen.last_frame + 1, frames, times)

    lane = _assign_lanes(actions.person, start, end)
    acting = np.unique(actions.person).tolist()
    watching = np.setdiff1d(seen.person, actions.person).tolist()
    people = []
    for person in (*acting, *watching):
        mine, his = seen.person == person, actions.person == person
        people.append(
            {
                "person": person, "color": person % len(PALETTE),
                "lanes": int(lane[his].max(initial=-1)) + 1,
                "seen": _rounded(seen_start[mine], seen_end[mine]),
            }
        )  # fmt: skip
    order = np.lexsort((actions.person, start))
    row = np.searchsorted(acting, actions.person) if acting else actions.person
    columns = (row, actions.label, start.round(3), end.round(3), actions.score.round(4), lane)
    length = max(times.max(), end.max(initial=0), seen_end.max(initial=0))
    return {
        "name": videos.video[index], "unit": "s" if in_seconds else "frame",
        "length": round(float(length), 3), "people": people,
        "actions": list(zip(*(column[order].tolist() for column in columns))),
    }  # fmt: skip


def _assign_lanes(person: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(R,) the first lane of each action's person that is free from its start on."""
    lane = np.zeros(len(person), np.int64)
    free: dict[int, list[float]] = {}  # by person, when each lane's last action ends
    for row in np.lexsort((end, start)).tolist():
        ends = free.setdefault(int(person[row]), [])
        number = next((i for i, when in enumerate(ends) if when <= start[row] + 1e-6), len(ends))
        ends[number : number + 1] = [float(end[row])]
        lane[row] = number
    return lane


def _rounded(start: np.ndarray, end: np.ndarray) -> list[list[float]]:
    return np.column_stack([start, end]).round(3).tolist()


def _relative_address(path: Path | None, folder: Path) -> str | None:
    """A file's address as seen from the page, or its full address from another drive."""
    if path is None:
        return None
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # of Windows
        return path.resolve().as_uri()
    return "./" + quote(relative)  # a colon in the first part would be a scheme


def _css(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _count(number: int, noun: str) -> str:
    plural = "people" if noun == "person" else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
