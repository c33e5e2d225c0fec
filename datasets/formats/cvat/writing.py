"""Tubes as CVAT for video 1.1, which CVAT loads into a task of the same video."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from ...errors import InputError
from ...storage.files import atomic_write
from ...tables import Tubes, Videos, select_rows
from ...video_names import VideoIndex
from ..exchange.output_files import file_of_video
from ..exchange.person_tracks import annotated_steps, number_tracks

OBJECT = "person"
ATTRIBUTE = "action"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Span(NamedTuple):
    """The frames of a video's task, and the size of the video (0 where it is not known)."""

    start: int
    stop: int
    step: int
    width: int
    height: int


def write_cvat(tubes: Tubes, videos: Videos | None, path: Path) -> list[Path]:
    """Writes one file with all videos, or a folder with one for each.

    A person is a track of the label "person". Where nobody does two things at once, what they do is
    the attribute "action" (select); else each class is a checkbox attribute. All boxes are written
    as keyframes, with all their digits.

    Args:
        tubes: with or without persons and scores.
        videos: their sizes and lengths, where they are known.
        path: an .xml or .zip file, which has several tasks for several videos as the export of a
            project has; or a folder, for <video>.cvat.xml.

    Returns:
        the files.

    Raises:
        InputError: a name has a character that XML cannot hold.

    Warns:
        what CVAT cannot hold.
    """
    scored = [name for name in ("score", "tube_score") if getattr(tubes, name) is not None]
    if scored:
        warnings.warn(f"{path}: CVAT has no {' and no '.join(scored)}; left out", stacklevel=3)
    track = number_tracks(tubes, path, one_box=True)
    codes = range(len(tubes.video_names))
    if path.suffix.lower() in (".xml", ".zip"):
        groups = {path: list(codes)}
    else:
        names = enumerate(tubes.video_names)
        groups = {file_of_video(path, name, ".cvat.xml"): [code] for code, name in names}
    for file, chosen in groups.items():
        with atomic_write(file) as temporary:
            if file.suffix.lower() == ".zip":
                with (
                    zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
                    archive.open("annotations.xml", "w", force_zip64=True) as member,
                ):
                    _write_lines(_lines(tubes, track, videos, chosen), member)
            else:
                with temporary.open("wb") as out:
                    _write_lines(_lines(tubes, track, videos, chosen), out)
    return list(groups)


def _write_lines(lines: Iterable[str], out: IO[bytes]) -> None:
    for line in lines:
        if (bad := _NOT_XML.search(line)) is not None:
            raise InputError(
                f"CVAT's XML cannot hold the character {bad[0]!r} of a name; rename it"
            )
        out.write(f"{line}\n".encode())


def _lines(
    tubes: Tubes, track: np.ndarray, videos: Videos | None, codes: list[int]
) -> Iterator[str]:
    spans = _spans(tubes, videos)
    is_project = len(codes) > 1
    together = _does_two_things(tubes, track)
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield "<annotations>"
    yield "  <version>1.1</version>"
    yield "  <meta>"
    if is_project:
        yield "    <project><tasks>"
    for code in codes:
        yield from _task_lines(code, tubes.video_names[code], spans[code])
        if not is_project:
            yield from _label_lines(tubes.label_names, together)
        yield "    </task>"
    if is_project:
        yield "    </tasks>"
        yield from _label_lines(tubes.label_names, together)
        yield "    </project>"
    yield "  </meta>"
    for code in codes:
        rows = np.flatnonzero(tubes.video == code)
        for person in np.unique(track[rows]):
            task = f' task_id="{code + 1}"' if is_project else ""
            yield f'  <track id="{person - 1}" label="{OBJECT}"{task} source="manual">'
            own = select_rows(tubes, rows[track[rows] == person])
            yield from _shape_lines(own, spans[code], together)
            yield "  </track>"
    yield "</annotations>"


def _spans(tubes: Tubes, videos: Videos | None) -> list[_Span]:
    """The task of each video: all its frames, or every so many of them."""
    index = VideoIndex(videos.video) if videos is not None else None
    spans = []
    for code, step in enumerate(annotated_steps(tubes).tolist()):
        frames = tubes.frame[tubes.video == code]
        first, last = int(frames.min(initial=1 << 30)), int(frames.max(initial=0))
        start = first % step if step > 1 and len(frames) else 0
        row = index.find(tubes.video_names[code]) if index is not None else None
        width = height = 0
        if row is not None and videos is not None:
            last = max(last, int(videos.num_frames[row]) - 1)
            width, height = int(videos.width[row]), int(videos.height[row])
        spans.append(_Span(start, last, step, width, height))
    return spans


def _does_two_things(tubes: Tubes, track: np.ndarray) -> bool:
    """Whether a track has two labels on a frame."""
    keys = np.stack([tubes.video, track, tubes.frame], axis=1)
    return len(np.unique(keys, axis=0)) < len(keys)


def _task_lines(code: int, name: str, span: _Span) -> Iterator[str]:
    size = (span.stop - span.start) // span.step + 1
    fields = {
        "id": code + 1, "name": name, "size": size, "mode": "interpolation", "overlap": 0,
        "start_frame": span.start, "stop_frame": span.stop,
        "frame_filter": f"step={span.step}" if span.step > 1 else "", "source": name,
    }  # fmt: skip
    yield "    <task>"
    for key, value in fields.items():
        yield f"      <{key}>{escape(str(value))}</{key}>"
    if span.width:
        yield (
            f"      <original_size><width>{span.width}</width><height>{span.height}</height>"
            "</original_size>"
        )


def _label_lines(labels: tuple[str, ...], together: bool) -> Iterator[str]:
    yield f"      <labels><label><name>{OBJECT}</name><type>any</type><attributes>"
    kinds = (
        [(name, "checkbox", "false", ["false"]) for name in labels]
        if together
        else [(ATTRIBUTE, "select", "__undefined__", ["__undefined__", *labels])]
    )
    for name, kind, default, values in kinds:
        yield (
            f"        <attribute><name>{escape(name)}</name><mutable>True</mutable><input_type>"
            f"{kind}</input_type><default_value>{default}</default_value><values>"
            f"{escape(chr(10).join(values))}</values></attribute>"
        )
    yield "      </attributes></label></labels>"


def _shape_lines(rows: Tubes, span: _Span, together: bool) -> Iterator[str]:
    """The boxes of one track, and one that is outside after each stretch of them."""
    frames, first = np.unique(rows.frame, return_index=True)
    for number, frame in enumerate(frames.tolist()):
        names = [rows.label_names[code] for code in rows.label[rows.frame == frame]]
        corners = rows.boxes[first[number]].tolist()
        yield from _box_lines(frame, corners, names, rows.label_names, together, outside=0)
        after = frame + span.step
        is_last = number + 1 == len(frames) or frames[number + 1] > after
        if is_last and after <= span.stop:
            yield from _box_lines(after, corners, names, rows.label_names, together, outside=1)


def _box_lines(
    frame: int, corners: list[float], names: list[str], labels: tuple[str, ...], together: bool,
    outside: int,
) -> Iterator[str]:  # fmt: skip
    x1, y1, x2, y2 = map(repr, corners)
    yield (
        f'    <box frame="{frame}" outside="{outside}" occluded="0" keyframe="1" xtl="{x1}" '
        f'ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0">'
    )
    pairs = (
        [(label, str(label in names).lower()) for label in labels]
        if together
        else [(ATTRIBUTE, names[0])]
    )
    for name, value in pairs:
        yield f"      <attribute name={quoteattr(name)}>{escape(value)}</attribute>"
    yield "    </box>"
