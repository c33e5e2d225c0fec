"""COCO's annotation files as ground truth: images, or videos with tracks (COCO-video, YouTube-VIS).

An annotation's track is its `track_id` or `instance_id`; without one it is a tube of one box.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..box_coordinates import xywh_to_xyxy
from ..checks import as_integers
from ..class_list import ClassList
from ..errors import InputError
from ..frame_numbers import frame_name, from_first_frame
from ..storage.files import atomic_write
from ..storage.text_files import read_json
from ..tables import Tubes, Videos, make_videos
from ..video_names import VideoIndex, strip_extension
from .annotation_format import GroundTruth, ReadOptions
from .entries import Entry
from .exchange.exact_sides import exact_sides
from .exchange.person_tracks import annotated_steps, tubes_of_tracks

_FRAME_KEYS = ("frame_id", "frame_index", "frame_num", "frame")
_TRACK_KEYS = ("track_id", "instance_id")
_LENGTH_KEYS = ("num_frames", "length", "nframes")


def is_annotation_file(content: Any) -> bool:
    """Whether JSON is an annotation file, and not a list of results."""
    return isinstance(content, dict) and "annotations" in content


def read_coco_ground_truth(path: Path, options: ReadOptions) -> GroundTruth:
    """Reads an annotation file.

    Args:
        path: JSON with images, annotations and categories, and perhaps videos.
        options: `first_frame` is the number of a video's first frame where images have numbers.

    Raises:
        InputError: not such a file, or its frames may count from 0 or from 1.

    Warns:
        boxes without a track, and crowds, which are left out.
    """
    from .coco import by_id, codes_of, read_images

    content = Entry(read_json(path), path)
    categories = by_id(content["categories"], "category")
    label_names = tuple(each["name"].text() for each in categories.values())
    annotations = content["annotations"]
    videos = content.get("videos")
    if _is_youtube_vis(annotations):
        _flatten(content, path)
    elif videos is not None:
        _name_images(content, options, path)
    images = read_images(content["images"], options, path)
    label_of_id = {key: code for code, key in enumerate(categories)}
    annotations = content["annotations"]
    rows = [each.value for each in annotations.each("annotation") if not _is_crowd(each)]
    if len(rows) < len(annotations.value):
        left_out = len(annotations.value) - len(rows)
        warnings.warn(
            f"{path}: leaving out {left_out} of {len(annotations.value)} annotations of crowds",
            stacklevel=3,
        )
    kept = Entry(rows, "annotations", content)
    image = codes_of(kept, "image_id", images.row_of_id, path)
    label = codes_of(kept, "category_id", label_of_id, path).astype(np.int32)
    boxes = xywh_to_xyxy(kept.column("annotation", "bbox", "x", "y", "width", "height"))
    video, frame = images.video[image].astype(np.int32), images.frame[image]
    tubes = Tubes(
        video=video, frame=as_integers(frame, np.int32, "frame", path), label=label, boxes=boxes,
        tube=np.arange(len(rows)), video_names=images.video_names, label_names=label_names,
        **_scores(kept, rows),
    )  # fmt: skip
    tubes = _with_tracks(tubes, kept, rows, path)
    # Our own files only have images of frames with boxes.
    is_own = all("tube" in row for row in rows)
    annotated = np.stack([images.video, images.frame], axis=1).astype(np.int32)
    return GroundTruth(
        path=path, tubes=tubes, videos=_videos(content, images, path),
        classes=_numbered(categories, label_names, path),
        annotated_frames=None if is_own else annotated,
        frame_size=image_sizes(images, path),
    )  # fmt: skip


def image_sizes(images: Any, path: Path) -> dict[str, tuple[int, int]]:
    """The size of each video's images, where the file says it of all."""
    sizes = {}
    for code, name in enumerate(images.video_names):
        own = np.unique(images.size[images.video == code], axis=0)
        if len(own) > 1 and not np.isnan(own).any():
            words = " and ".join(f"{width:.0f}x{height:.0f}" for width, height in own[:2])
            raise InputError(f"{path}: images of video {name} are {words}; give them one size")
        if len(own) == 1 and not np.isnan(own).any():
            sizes[name] = (int(own[0, 0]), int(own[0, 1]))
    return sizes


def _numbered(categories: dict, names: tuple[str, ...], path: Path) -> ClassList | None:
    numbers = sorted((key, name) for key, name in zip(categories, names) if isinstance(key, int))
    if len(numbers) < len(names) or not numbers:
        return None
    return ClassList(
        tuple(name for _, name in numbers), tuple(key for key, _ in numbers), source=str(path)
    )


def _is_crowd(annotation: Entry) -> bool:
    flags = (annotation.get(key) for key in ("iscrowd", "ignore"))
    return any(flag is not None and flag.value for flag in flags)


def _is_youtube_vis(annotations: Entry) -> bool:
    return any(each.get("bboxes") is not None for each in annotations.each("annotation"))


def _flatten(content: Entry, path: Path) -> None:
    """Makes an image of each frame, and an annotation of each box, as COCO-video has them."""
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    first: dict[Any, int] = {}
    for video in content["videos"].each("video"):
        files = [each.text() for each in video["file_names"].each("file")]
        key = video["id"].identifier()
        first[key] = len(images)
        name = files[0].replace("\\", "/").rpartition("/")[0] if files else ""
        images += [
            {"id": len(images) + frame, "video": name or str(key), "frame": frame}
            for frame in range(len(files))
        ]
    for number, each in enumerate(content["annotations"].each("annotation")):
        key = each["video_id"].identifier()
        if key not in first:
            raise each.error(f"video_id {key!r} is not an id in {path}")
        for frame, box in enumerate(each["bboxes"].each("box")):
            if box.value is not None:
                rows.append(
                    {"image_id": first[key] + frame, "bbox": box.value, "track_id": number,
                     "category_id": each["category_id"].value}
                )  # fmt: skip
    content.value["images"], content.value["annotations"] = images, rows


def _name_images(content: Entry, options: ReadOptions, path: Path) -> None:
    """Gives images the name of their video, and their frame from 0."""
    names = {
        video["id"].identifier(): strip_extension((video.get("name") or video["file_name"]).text())
        for video in content["videos"].each("video")
    }
    numbered: list[tuple[dict[str, Any], int]] = []
    for image in content["images"].each("image"):
        if image.get("video") is not None and image.get("frame") is not None:
            continue
        key = image["video_id"].identifier()
        if key not in names:
            raise image.error(f"video_id {key!r} is not an id of videos")
        found = next((image.get(word) for word in _FRAME_KEYS if word in image.value), None)
        if found is None:
            return  # the names of the files say which frame each is
        image.value["video"] = names[key]
        numbered.append((image.value, found.integer(least=0)))
    first = options.first_frame
    if first is None and numbered:
        first = min(number for _, number in numbered)
        if first > 1:
            raise InputError(
                f"{path}: the frames of its images begin with {first}, so that they may count from "
                "0 or from 1; give --first-frame"
            )
        if first == 1:
            warnings.warn(
                f"{path}: none of its images is frame 0, so frames are taken to count from 1; give "
                "--first-frame 0 if they count from 0",
                stacklevel=4,
            )
    for image_value, number in numbered:
        image_value["frame"] = (
            number if options.first_frame else from_first_frame(number, first or 0)
        )


def _scores(kept: Entry, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    scores = {}
    for name in ("score", "tube_score"):
        if rows and all(name in row for row in rows):
            scores[name] = kept.column("annotation", name)
    return scores


def _with_tracks(tubes: Tubes, kept: Entry, rows: list[dict[str, Any]], path: Path) -> Tubes:
    """The rows as tubes of their tracks; a row without a track stays a tube of one box."""
    columns = dict(vars(tubes))
    if rows and all("tube" in row for row in rows):  # as `write_coco_tubes` writes them
        columns["tube"] = as_integers(kept.column("annotation", "tube"), np.int64, "tube", path)
        if all("person" in row for row in rows):
            person = kept.column("annotation", "person")
            columns["person"] = as_integers(person, np.int32, "person", path)
        return Tubes(**columns)
    key = next((key for key in _TRACK_KEYS if any(key in row for row in rows)), None)
    if key is None:
        if rows:
            warnings.warn(
                f"{path}: its annotations have no track_id, so each box is a tube of its own",
                stacklevel=4,
            )
        return tubes
    names = [row.get(key) for row in rows]
    alone = sum(name is None for name in names)
    if alone:
        raise InputError(f"{path}: {alone} of {len(rows)} annotations have no {key}")
    pairs = [(code, str(name)) for code, name in zip(tubes.video.tolist(), names)]
    numbers: dict[int, dict[str, int]] = {}
    for code, name in pairs:
        own = numbers.setdefault(code, {})
        own.setdefault(name, len(own) + 1)
    person = np.array([numbers[code][name] for code, name in pairs], np.int32)
    steps = annotated_steps(tubes)
    columns["person"] = person
    columns["tube"] = tubes_of_tracks(tubes.video, person, tubes.label, tubes.frame, steps)
    return Tubes(**columns)


def _videos(content: Entry, images: Any, path: Path) -> Videos | None:
    """The videos that the file describes with length and size, if it describes all."""
    described = content.get("videos")
    if described is None:
        return None
    rows = []
    for video in described.each("video"):
        lengths = (video.get(key) for key in _LENGTH_KEYS)
        length = next((each for each in lengths if each is not None), None)
        width, height = video.get("width"), video.get("height")
        if length is None or width is None or height is None or "name" not in video.value:
            return None
        fps = video.get("fps")
        rows.append(
            (strip_extension(video["name"].text()), length.integer(least=1),
             width.integer(least=1), height.integer(least=1), fps.number() if fps else np.nan)
        )  # fmt: skip
    columns: tuple[Any, ...] = tuple(zip(*rows)) if rows else ((),) * 5
    names, lengths, widths, heights, rates = columns
    if not set(images.video_names) <= set(names):
        return None
    return make_videos(names, lengths, widths, heights, rates)


def write_coco_tubes(tubes: Tubes, videos: Videos | None, path: Path) -> None:
    """Writes tubes as COCO-video: an image a frame with boxes, an annotation a box.

    Besides COCO's own keys, annotations have `tube`, `track_id` (the same number), and where they
    are known `person`, `score` and `tube_score`; images have `video` and `frame` from 0.
    """
    index = VideoIndex(videos.video) if videos is not None else None
    described: list[dict[str, Any]] = []
    for code, name in enumerate(tubes.video_names):
        described.append({"id": code + 1, "name": name})
        row = index.find(name) if index is not None else None
        if row is not None and videos is not None:
            described[-1] |= {
                "num_frames": int(videos.num_frames[row]), "width": int(videos.width[row]),
                "height": int(videos.height[row]),
            }  # fmt: skip
            if np.isfinite(videos.fps[row]):
                described[-1]["fps"] = float(videos.fps[row])
    frames, image = np.unique(
        np.stack([tubes.video, tubes.frame], axis=1), axis=0, return_inverse=True
    )
    images = [
        {
            "id": number, "video_id": code + 1, "frame_id": frame,
            "file_name": f"{tubes.video_names[code]}/{frame_name(frame)}.jpg",
            "video": tubes.video_names[code], "frame": frame,
            **{key: described[code][key] for key in ("width", "height") if key in described[code]},
        }
        for number, (code, frame) in enumerate(frames.tolist(), 1)
    ]  # fmt: skip
    sides = exact_sides(tubes.boxes[:, :2], tubes.boxes[:, 2:])
    boxes = np.concatenate([tubes.boxes[:, :2], sides], axis=1)
    extra = {
        name: values.tolist() for name in ("person", "score", "tube_score")
        if (values := getattr(tubes, name)) is not None
    }  # fmt: skip
    annotations = [
        {
            "id": row + 1, "image_id": int(number) + 1, "category_id": label + 1, "bbox": box,
            "area": box[2] * box[3], "iscrowd": 0, "track_id": tube, "tube": tube,
            **{name: values[row] for name, values in extra.items()},
        }
        for row, (number, label, box, tube) in enumerate(
            zip(image.reshape(-1), tubes.label.tolist(), boxes.tolist(), tubes.tube.tolist())
        )
    ]  # fmt: skip
    categories = [{"id": code + 1, "name": name} for code, name in enumerate(tubes.label_names)]
    content = {"videos": described, "images": images, "annotations": annotations,
               "categories": categories}  # fmt: skip
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
