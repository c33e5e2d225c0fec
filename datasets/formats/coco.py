"""COCO's JSON files: ground truth and detections of frames, written and read.

With them pycocotools gives COCO's AP, and the average recall of proposals, on the same boxes. A
COCO box is x, y, width, height with width = x2 - x1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..box_coordinates import xywh_to_xyxy, xyxy_to_xywh
from ..errors import InputError
from ..files import atomic_write
from ..frame_numbers import frame_name, frame_of_file
from ..tables import Detections, Tubes, Videos, detections_from_rows, tubes_from_rows
from ..text_files import read_json
from .annotation_format import AnnotationFormat, ReadOptions


class CocoFormat(AnnotationFormat):
    """COCO's JSON files: results are read, annotations and results are written."""

    name = "COCO's JSON"

    def matches(self, path: Path) -> bool:
        return path.suffix == ".json"

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return read_coco_results(path, options)

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        """Writes tubes as an annotation file; detections as results, and annotations.json beside
        them with their images and categories."""
        if isinstance(table, Tubes):
            _write_json(coco_ground_truth(table), path)
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


def read_coco_results(path: Path, options: ReadOptions) -> Detections:
    """Reads a COCO results file.

    The annotation file says which frame an image is and how categories are called. An image's frame
    is its `video` and `frame`, else its file name "<video>/<frame from 00001>.jpg".

    Args:
        path: a JSON list of image_id, category_id, bbox and score.
        options: names of videos and classes come first in the table; see also `annotations`.

    Raises:
        InputError: not such a file, or an id without a frame.
    """
    annotations = options.annotations or path.with_name("annotations.json")
    content, described = _load(path), _load(annotations)
    try:
        images = {image["id"]: _frame(image) for image in described["images"]}
        categories = {each["id"]: str(each["name"]) for each in described["categories"]}
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{annotations}: is not a COCO annotation file ({error!r}); give the right one with "
            "--annotations"
        ) from error
    if not isinstance(content, list):
        raise InputError(f"{path}: must be a JSON list of results")
    # Names that the ground truth lacks are kept; `align_to_ground_truth` reports them.
    videos = (video for video, _ in images.values())
    video_names = tuple(dict.fromkeys([*(options.video_names or ()), *videos]))
    label_names = tuple(dict.fromkeys([*options.label_names, *categories.values()]))
    video = {name: index for index, name in enumerate(video_names)}
    label = {name: index for index, name in enumerate(label_names)}
    rows = np.empty((len(content), 8))
    for i, result in enumerate(content):
        try:
            name, frame = images[result["image_id"]]
            category = label[categories[result["category_id"]]]
            x, y, width, height = result["bbox"]
            rows[i] = video[name], frame, category, result["score"], x, y, width, height
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: result {i + 1}: needs image_id, category_id, bbox and score that "
                f"fit {annotations.name} ({error!r})"
            ) from error
    rows[:, 4:] = xywh_to_xyxy(rows[:, 4:])
    return detections_from_rows(rows, video_names, label_names, str(path))


def _images(ground_truth: Tubes, detections: Detections | None) -> tuple[np.ndarray, np.ndarray]:
    """(R,) image ids from 1 of ground truth rows, then detections; (I, 2) video and frame."""
    tables: list[Tubes | Detections] = [ground_truth]
    if detections is not None:
        tables.append(detections)
    rows = np.concatenate([np.stack([table.video, table.frame], axis=1) for table in tables])
    frames, image = np.unique(rows, axis=0, return_inverse=True)
    return image.reshape(-1) + 1, frames


def _load(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None


def _frame(image: dict[str, Any]) -> tuple[str, int]:
    if "video" in image and "frame" in image:
        return str(image["video"]), int(image["frame"])
    file = Path(image["file_name"])
    return file.parent.as_posix(), frame_of_file(file)
