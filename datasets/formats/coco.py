"""COCO's JSON files: ground truth and detections of frames, written and read.

With them pycocotools gives COCO's AP, and the average recall of proposals, on the same boxes. A
COCO box is x, y, width, height with width = x2 - x1.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..box_coordinates import rescale_boxes, xywh_to_xyxy, xyxy_to_xywh
from ..checks import detections_from_rows
from ..errors import InputError
from ..frame_numbers import frame_name, from_first_frame
from ..storage.files import atomic_write
from ..storage.text_files import read_json
from ..tables import Detections, Tubes, Videos, tubes_from_rows
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .coco_video import read_coco_ground_truth, write_coco_tubes
from .complete import certain_unit, convert_boxes, frame_sizes
from .entries import Entry
from .frame_files import first_frame_of, match_frame_files


class CocoFormat(AnnotationFormat):
    """COCO's JSON files: results are read, annotations and results are written."""

    name = "COCO's JSON"

    def matches(self, path: Path) -> bool:
        return path.suffix.lower() == ".json"

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        return read_coco_ground_truth(path, options)

    def read_tubes(self, path: Path, options: ReadOptions) -> Tubes:
        return read_coco_ground_truth(path, options).tubes

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return read_coco_results(path, options)

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        """Writes tubes as an annotation file; detections as results, and annotations.json beside
        them with their images and categories."""
        if isinstance(table, Tubes):
            write_coco_tubes(table, videos, path)
        else:
            write_coco(tubes_from_rows([], table.video_names, table.label_names), table, path)


def coco_ground_truth(ground_truth: Tubes, detections: Detections | None = None) -> dict[str, Any]:
    """The ground truth as COCO's annotation object.

    Args:
        ground_truth: one image for each of its frames.
        detections: with the same names; frames that only these have become images too, so that
            false positives there count.

    Returns:
        images (with `video`, `frame` from 0 and a file name from 00001.jpg), categories from 1,
        and annotations.
    """
    image, frames = _images(ground_truth, detections)
    boxes = xyxy_to_xywh(ground_truth.boxes)
    images = [
        {
            "id": number,
            "file_name": f"{ground_truth.video_names[video]}/{frame_name(frame)}.jpg",
            "video": ground_truth.video_names[video],
            "frame": frame,
        }
        for number, (video, frame) in enumerate(frames.tolist(), 1)
    ]
    annotations = [
        {
            "id": number,
            "image_id": int(image_id),
            "category_id": label + 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for number, (image_id, label, box) in enumerate(
            zip(image[: len(ground_truth)], ground_truth.label.tolist(), boxes.tolist()), 1
        )
    ]
    categories = [
        {"id": number, "name": name} for number, name in enumerate(ground_truth.label_names, 1)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_results(detections: Detections, ground_truth: Tubes) -> list[dict[str, Any]]:
    """Detections as COCO's list of results, ids as `coco_ground_truth` of the same two gives."""
    image, _ = _images(ground_truth, detections)
    boxes = xyxy_to_xywh(detections.boxes)
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": box, "score": score}
        for image_id, label, box, score in zip(
            image[len(ground_truth) :].tolist(),
            detections.label.tolist(),
            boxes.tolist(),
            detections.score.tolist(),
        )
    ]


def write_coco(ground_truth: Tubes, detections: Detections, path: Path) -> None:
    """Writes COCO results, and annotations.json beside them, each whole or not at all."""
    annotations = coco_ground_truth(ground_truth, detections)
    _write_json(annotations, path.with_name("annotations.json"))
    _write_json(coco_results(detections, ground_truth), path)


def _write_json(content: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


_Id = int | float | str


@dataclass(frozen=True, eq=False)
class _Images:
    """The images of an annotation file, I in all.

    Attributes:
        row_of_id: index into the arrays.
        video: (I,) int64, index into `video_names`.
        frame: (I,) int64, from 0.
        size: (I, 2) float64 width and height, NaN where the file does not say.
    """

    row_of_id: dict[_Id, int]
    video: np.ndarray
    frame: np.ndarray
    size: np.ndarray
    video_names: tuple[str, ...]


def read_coco_results(path: Path, options: ReadOptions) -> Detections:
    """Reads a COCO results file.

    The annotation file says which frame an image is and how categories are called. An image's frame
    is its `video` and `frame` (from 0), else its file name, see `match_frame_files`. Boxes in
    fractions become pixels where the sizes of the images are known, and boxes in pixels of an image
    become pixels of the video where the video has another size.

    Args:
        path: a JSON list of image_id, category_id, bbox and score.
        options: names of videos come first in the table; see also `annotations`.

    Raises:
        InputError: not such a file, or an id without a frame.

    Warns:
        that boxes were converted.
    """
    annotations = annotations_of(path, options)
    described = Entry(read_json(annotations), annotations)
    images = read_images(described["images"], options, annotations)
    categories = by_id(described["categories"], "category")
    names = {key: category["name"].text() for key, category in categories.items()}
    label_names = tuple(dict.fromkeys([*options.label_names, *names.values()]))
    label_of_id = {key: label_names.index(name) for key, name in names.items()}
    results = Entry(read_json(path), path)
    image = codes_of(results, "image_id", images.row_of_id, annotations)
    label = codes_of(results, "category_id", label_of_id, annotations)
    score = results.column("result", "score")
    boxes = xywh_to_xyxy(results.column("result", "bbox", "x", "y", "width", "height"))
    rows = np.column_stack([images.video[image], images.frame[image], label, score, boxes])
    table = detections_from_rows(rows, images.video_names, label_names, str(path))
    return _in_video_pixels(table, images.size[image], path, options)


def annotations_of(results: Path, options: ReadOptions) -> Path:
    """The annotation file that belongs to a file of results.

    Raises:
        InputError: there is none.
    """
    annotations = options.annotations or results.with_name("annotations.json")
    if not annotations.is_file():
        raise InputError(
            f"{annotations}: file not found; it belongs to COCO results and says which frame an "
            f"image is{'' if options.only_people else '; give it with --annotations'}"
        )
    return annotations


def read_images(entries: Entry, options: ReadOptions, source: Path) -> _Images:
    images = by_id(entries, "image")
    names: list[str] = []
    frames: list[int] = []
    sizes: list[list[float]] = []
    unnamed: dict[int, str] = {}  # rows whose video and frame the file name says
    for row, image in enumerate(images.values()):
        if image.get("video") is not None and image.get("frame") is not None:
            names.append(image["video"].text())
            number = image["frame"].integer(least=0)
            frames.append(from_first_frame(number, options.first_frame or 0))
        else:
            unnamed[row] = image["file_name"].text()
            names.append("")
            frames.append(0)
        sides = [image.get("width"), image.get("height")]
        size = [side.integer(least=1) for side in sides if side and side.value is not None]
        sizes.append([*size] if len(size) == 2 else [np.nan, np.nan])
    frame = np.array(frames, np.int64)
    if unnamed:
        known, layout = options.video_names or (), "<video>/<frame>, such as alpha/00001.jpg"
        files = match_frame_files([*unnamed.values()], known, f"{source}: image ", layout)
        rows = list(unnamed)
        for row, name in zip(rows, files.videos):
            names[row] = name
        first = options.first_frame
        if first is None:
            first = first_frame_of(files, options.truth, source)
        frame[rows] = from_first_frame(files.numbers, first)
    code_of_name = {name: code for code, name in enumerate(options.video_names or ())}
    return _Images(
        row_of_id={key: row for row, key in enumerate(images)},
        video=np.array([code_of_name.setdefault(name, len(code_of_name)) for name in names], int),
        frame=frame,
        size=np.array(sizes, np.float64).reshape(-1, 2),
        video_names=tuple(code_of_name),
    )


def by_id(entries: Entry, what: str) -> dict[_Id, Entry]:
    """The entries of a list by their `id`, each of which must be there once."""
    by_id: dict[_Id, Entry] = {}
    for entry in entries.each(what):
        key = entry["id"].identifier()
        if key in by_id:
            raise entry.error(f"id {key} is also that of {by_id[key]}")
        by_id[key] = entry
    return by_id


def codes_of(results: Entry, key: str, codes: Mapping[_Id, int], source: Path) -> np.ndarray:
    """(R,) what `codes` has for a key of each result."""
    try:
        return np.array([codes[result[key]] for result in results.value], np.int64)
    except (TypeError, KeyError, IndexError):
        # One by one, which names the first bad result.
        ids = (result[key] for result in results.each("result"))
        unknown = next(each for each in ids if each.identifier() not in codes)
        raise unknown.error(f"{unknown.value!r} is not an id in {source}") from None


def _in_video_pixels(
    table: Detections, image_size: np.ndarray, path: Path, options: ReadOptions
) -> Detections:
    """The detections in the unit that is wanted, pixels as pixels of the videos.

    Args:
        table: boxes in pixels or fractions of the images.
        image_size: (R, 2) width and height, NaN where unknown.
        path: for messages.
        options: say the units, and what is known of the videos.
    """
    video_size = frame_sizes(table, options.videos)
    video_size = np.where(np.isnan(video_size), image_size, video_size)
    is_pixel = certain_unit(table, path, options) == "pixel"
    if not is_pixel or options.target_unit == "fraction":
        return convert_boxes(table, path, options, image_size if is_pixel else video_size)
    known = ~np.isnan(image_size + video_size).any(axis=1)
    changed = known & (image_size != video_size).any(axis=1)
    if not changed.any():
        return table
    upright, video_upright = (size[:, 0] < size[:, 1] for size in (image_size, video_size))
    turned = changed & (upright != video_upright)
    row = int((turned if turned.any() else changed).argmax())
    name = table.video_names[table.video[row]]
    old, new = (f"{size[row, 0]:.0f}x{size[row, 1]:.0f}" for size in (image_size, video_size))
    if turned.any():
        raise InputError(
            f"{path}: its images of {name} are {old}, but the video is {new}: one of them is "
            "turned; give results for the video as it is"
        )
    warnings.warn(
        f"{path}: scaling {int(changed.sum())} of {len(table)} boxes to the size of their video; "
        f"the first, in {name}, from {old} to {new}",
        stacklevel=4,
    )
    boxes = table.boxes.copy()
    boxes[changed] = rescale_boxes(boxes[changed], image_size[changed], video_size[changed])
    return replace(table, boxes=boxes)


def _images(ground_truth: Tubes, detections: Detections | None) -> tuple[np.ndarray, np.ndarray]:
    """(R,) image ids from 1 of ground truth rows, then detections; (I, 2) video and frame."""
    tables: list[Tubes | Detections] = [ground_truth]
    if detections is not None:
        tables.append(detections)
    rows = np.concatenate([np.stack([table.video, table.frame], axis=1) for table in tables])
    frames, image = np.unique(rows, axis=0, return_inverse=True)
    return image.reshape(-1) + 1, frames
