"""What a CVAT file holds: tasks, labels with attributes, and tracks, as they stand there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from ...errors import InputError
from ...storage.xml_file import iter_children
from ...storage.zip_file import list_members, open_member
from ...video_names import strip_extension
from .shapes import SHAPES, bounding_box

_MAX_FRAME = 100_000_000
Attributes = tuple[tuple[str, str], ...]
"""Name and value of each attribute of a box."""


class Task(NamedTuple):
    """A task, or a job of one: frames of one video.

    Attributes:
        video: the name of its video without extension, from <source>, or else the task's name.
        start, stop: its first and last frame in the video, from 0; `stop` is None where the file
            does not say.
        step: frames of the video from one of its frames to the next.
        width, height: of the video, 0 where the file does not say.
    """

    video: str
    start: int = 0
    stop: int | None = None
    step: int = 1
    width: int = 0
    height: int = 0


class Track(NamedTuple):
    """One object's shapes as boxes, n in all, by frame.

    Attributes:
        task: a key of `CvatContent.tasks`.
        number: its id.
        label: of the object.
        frames: (n,) int64, of the video, from 0.
        boxes: (n, 4) float64.
        outside: (n,) bool, whether the object is not to be seen from here on.
        attributes: of each shape.
    """

    task: str
    number: int
    label: str
    frames: np.ndarray
    boxes: np.ndarray
    outside: np.ndarray
    attributes: list[Attributes]


@dataclass
class CvatContent:
    """All of a file.

    Attributes:
        tasks: by their id; "" where there is only one.
        labels: the names of the labels, in their order.
        attributes: the kinds of the attributes by name: select, radio, checkbox, number or text.
        values: the values that are declared for an attribute.
        tracks: the tracks.
        reshaped: how many shapes of each kind became their bounding boxes.
        has_all_frames: whether the file has boxes that are no keyframes: then it was written with
            every frame.
    """

    tasks: dict[str, Task] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    tracks: list[Track] = field(default_factory=list)
    reshaped: Counter[str] = field(default_factory=Counter)
    has_all_frames: bool = False


def is_cvat(path: Path) -> bool:
    """Whether a file is CVAT's XML, or a zip file with one, by its content."""
    if path.suffix.lower() == ".zip":
        return len(list_members(path, _is_annotation_file)) > 0
    if path.suffix.lower() != ".xml" or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"<annotations" in file.read(4096)


def _is_annotation_file(name: str) -> bool:
    return name.rpartition("/")[2].lower() == "annotations.xml" or name.lower().endswith(
        ".cvat.xml"
    )


def read_content(path: Path) -> Iterator[CvatContent]:
    """The content of an XML file, or of each XML file in a zip file.

    Raises:
        InputError: it is not readable, or not CVAT for video 1.1.
    """
    if path.suffix.lower() != ".zip":
        with path.open("rb") as file:
            yield _read_file(file, path, strip_extension(path.name.removesuffix(".xml")))
        return
    members = list_members(path, _is_annotation_file)
    if not members:
        raise InputError(f"{path}: has no annotations.xml; export CVAT for video 1.1")
    for name in members:
        stem = path.stem if name.lower().endswith("annotations.xml") else Path(name).stem
        with open_member(path, name) as file:
            yield _read_file(file, path, stem.removesuffix(".cvat"))


def _read_file(file: BinaryIO, path: Path, stem: str) -> CvatContent:
    content = CvatContent()
    images = 0
    with _words_for_children(path):
        children = iter_children(file, path)
        root = next(children)
        if root.tag != "annotations":
            raise InputError(f"{path}: is not CVAT's XML, its first element is {root.tag[:40]}")
        for each in children:
            if each.tag == "meta":
                _read_meta(each, content, path, stem)
            elif each.tag == "track":
                content.tracks.append(_read_track(each, content, path, len(content.tracks)))
            images += each.tag == "image"
    if images and not content.tracks:
        raise InputError(
            f"{path}: is CVAT for images ({images} images), which has no tracks; export the task "
            "again as CVAT for video 1.1"
        )
    if not content.tasks:
        content.tasks[""] = Task(stem)
    return content


@contextmanager
def _words_for_children(path: Path) -> Iterator[None]:
    try:
        yield
    except StopIteration:
        raise InputError(f"{path}: is empty; export it again") from None


def _read_meta(meta: Element, content: CvatContent, path: Path, stem: str) -> None:
    source = meta.findtext("source")
    for task in meta.iter("task"):
        content.tasks[(task.findtext("id") or "").strip()] = _read_task(task, source, path, stem)
    for job in meta.findall("job"):
        content.tasks[""] = _read_task(job, source, path, stem)
    for label in meta.iter("label"):
        name = label.findtext("name") or ""
        if name and name not in content.labels:
            content.labels.append(name)
        for attribute in label.iter("attribute"):
            key = attribute.findtext("name") or ""
            content.attributes.setdefault(key, (attribute.findtext("input_type") or "text").strip())
            known = content.values.setdefault(key, [])
            values = (attribute.findtext("values") or "").split("\n")
            known += [value for value in map(str.strip, values) if value and value not in known]


def _read_task(task: Element, source: str | None, path: Path, stem: str) -> Task:
    names = (task.findtext("source"), source, task.findtext("name"), stem)
    video = next(name.strip() for name in names if name and name.strip())
    step = 1
    for word in (task.findtext("frame_filter") or "").split("&"):
        name, _, text = word.partition("=")
        if name.strip() == "step":
            step = _whole(text, f"{path}: frame_filter: step", least=1)
    start, stop = task.findtext("start_frame"), task.findtext("stop_frame")
    width, height = (task.findtext(f"original_size/{side}") for side in ("width", "height"))
    return Task(
        video=strip_extension(video),
        start=_whole(start, f"{path}: start_frame") if start else 0,
        stop=_whole(stop, f"{path}: stop_frame") if stop else None,
        step=step,
        width=_whole(width, f"{path}: width") if width else 0,
        height=_whole(height, f"{path}: height") if height else 0,
    )


def _read_track(track: Element, content: CvatContent, path: Path, index: int) -> Track:
    name = track.get("id") or str(index)
    task = track.get("task_id") or ""
    if len(content.tasks) == 1 and (not task or "" in content.tasks):
        task = next(iter(content.tasks))
    elif task not in content.tasks and (content.tasks or task):
        raise InputError(f"{path}: track {name}: its task {task[:40]!r} is not in <meta>")
    label = track.get("label") or ""
    common = _attributes(track)
    shapes: dict[int, tuple[list[float], bool, Attributes]] = {}
    for shape in track:
        if shape.tag not in SHAPES:
            continue
        frame = _whole(shape.get("frame"), f"{path}: track {name}: frame")
        place = f"{path}: track {name}: frame {frame}"
        box, kind = bounding_box(shape, place)
        is_outside = shape.get("outside") == "1"
        if kind is not None and not is_outside:
            content.reshaped[kind] += 1
        content.has_all_frames |= shape.get("keyframe") == "0"
        if frame in shapes and not is_outside and not shapes[frame][1]:
            raise InputError(f"{place}: has two boxes; a track has one box a frame")
        if frame not in shapes or shapes[frame][1]:
            shapes[frame] = (box, is_outside, _attributes(shape) or common)
    frames = sorted(shapes)
    return Track(
        task=task,
        number=_whole(name, f"{path}: track id"),
        label=label,
        frames=np.array(frames, np.int64),
        boxes=np.array([shapes[each][0] for each in frames], np.float64).reshape(-1, 4),
        outside=np.array([shapes[each][1] for each in frames], bool),
        attributes=[shapes[each][2] for each in frames],
    )


def _attributes(element: Element) -> Attributes:
    return tuple(
        (each.get("name") or "", (each.text or "").strip())
        for each in element
        if each.tag == "attribute"
    )


def _whole(text: str | None, place: str, least: int = 0) -> int:
    words = (text or "").strip()
    if not (words.isdecimal() and least <= int(words[:12]) <= _MAX_FRAME):
        raise InputError(f"{place} must be a whole number from {least} on, not {words[:40]!r}")
    return int(words)
