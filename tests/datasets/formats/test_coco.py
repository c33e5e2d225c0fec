"""COCO's files: written, read, and scored by pycocotools."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.datasets.formats.annotation_format import GroundTruth, ReadOptions
from actiontubes.datasets.formats.coco import read_coco_results, write_coco
from actiontubes.datasets.formats.registry import FORMATS, read_detections
from actiontubes.datasets.tables import (
    Detections,
    Tubes,
    make_videos,
    select_rows,
    tubes_from_rows,
)
from actiontubes.detect.evaluation.coco_metrics import coco_scores
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections


def dump() -> tuple[Tubes, Detections]:
    return synthetic_detections(0.005)


def named(tubes: Tubes) -> GroundTruth:
    return GroundTruth(path=Path("truth"), tubes=tubes)


def as_detections(truth: Tubes) -> Detections:
    score = np.linspace(0.1, 0.9, len(truth))
    names = truth.video_names, truth.label_names
    return Detections(truth.video, truth.frame, truth.label, score, truth.boxes, *names)


def test_the_format_writes_what_it_reads(tmp_path: Path) -> None:
    truth, detections = dump()
    FORMATS["coco"].write(detections, None, tmp_path / "results.json")
    again = read_detections(tmp_path / "results.json")
    names = [[table.video_names[code] for code in table.video] for table in (again, detections)]
    assert names[0] == names[1] and again.frame.tolist() == detections.frame.tolist()
    np.testing.assert_allclose(again.boxes, detections.boxes)
    FORMATS["coco"].write(truth, None, tmp_path / "truth.json")
    written = json.loads((tmp_path / "truth.json").read_text())
    assert len(written["annotations"]) == len(truth)


def test_round_trip(tmp_path: Path) -> None:
    truth, detections = dump()
    results = tmp_path / "results.json"
    write_coco(truth, detections, results)
    again = read_detections(results, named(truth))
    assert again.video_names == truth.video_names
    for name in ("video", "frame", "label", "score"):
        assert getattr(again, name).tolist() == getattr(detections, name).tolist()
    np.testing.assert_allclose(again.boxes, detections.boxes)


def test_file_names_say_the_frame(tmp_path: Path) -> None:
    """Annotations of others have no video and frame of their own."""
    truth, detections = dump()
    annotations, results = tmp_path / "annotations.json", tmp_path / "results.json"
    write_coco(truth, detections, results)
    content = json.loads(annotations.read_text())
    for image in content["images"]:
        del image["video"], image["frame"]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    options = ReadOptions.from_ground_truth(named(truth), FileOptions(first_frame=1), other)
    again = read_coco_results(results, options)
    assert again.frame.tolist() == detections.frame.tolist()


def test_perfect_detections_score_100() -> None:
    truth, _ = dump()
    scores = coco_scores(truth, as_detections(truth))
    assert scores["AP"] == pytest.approx(100) and scores["AR100"] == pytest.approx(100)


def test_proposal_recall_needs_no_class() -> None:
    truth, _ = dump()
    proposals = as_detections(truth)
    shifted = proposals.boxes + np.array([4.0, 0, 4, 0])
    proposals = replace(proposals, label=np.zeros_like(proposals.label), boxes=shifted)
    width = truth.boxes[:, 2] - truth.boxes[:, 0]
    iou = (width - 4) / (width + 4)
    thresholds = np.arange(0.5, 1, 0.05).round(2)
    expected = 100 * np.mean([(iou >= threshold).mean() for threshold in thresholds])
    found = coco_scores(truth, proposals, any_class=True)["AR100"]
    assert found == pytest.approx(expected, abs=0.5)
    nothing = select_rows(proposals, np.empty(0, np.int64))
    assert coco_scores(truth, nothing)["AP"] == 0


RESULT: dict[str, Any] = {"image_id": 1, "category_id": 1, "bbox": [20, 10, 40, 60], "score": 0.5}


def coco_files(folder: Path, images: list[Any], changes: dict[str, Any] | None = None) -> Path:
    """Annotations of these images, and one result on the first; returns the results' path."""
    images = [{"id": i, **image} if isinstance(image, dict) else image
              for i, image in enumerate(images, 1)]  # fmt: skip
    content = {"images": images, "categories": [{"id": 1, "name": "run"}], "annotations": []}
    (folder / "annotations.json").write_text(json.dumps({**content, **(changes or {})}))
    path = folder / "results.json"
    path.write_text(json.dumps([RESULT]))
    return path


def truth_of(*videos: str, size: tuple[int, int] | None = None) -> GroundTruth:
    tubes = tubes_from_rows([(0, 0, np.array([[0, 20, 10, 60, 70]]), None)], videos, ("run",))
    sizes = None if size is None else make_videos(videos, 9, *size)
    return GroundTruth(path=Path("truth"), tubes=tubes, videos=sizes)


@pytest.mark.parametrize(
    ("file_name", "other", "frame"),
    [
        ("alpha/00001.jpg", "alpha/00002.jpg", 0),
        ("alpha_00003.jpg", "alpha_00001.jpg", 2),
        ("frames/alpha/00003.jpg", "frames/alpha/00000.jpg", 3),
        ("alpha/img_00003.jpg", "beta/img_00000.jpg", 3),
        ("alpha.mp4/3.png", "beta.mp4/1.png", 2),
    ],
)
def test_names_of_images(tmp_path: Path, file_name: str, other: str, frame: int) -> None:
    path = coco_files(tmp_path, [{"file_name": file_name}, {"file_name": other}])
    found = read_detections(path, truth_of("beta", "alpha"))
    assert found.video_names[found.video[0]] == "alpha" and found.frame.tolist() == [frame]
    assert found.boxes.tolist() == [[20, 10, 60, 70]]
    assert found.label_names == ("run",) and found.score.tolist() == [0.5]


def test_numbers_that_may_count_from_0_or_1(tmp_path: Path) -> None:
    path = coco_files(tmp_path, [{"file_name": "alpha/10.jpg"}, {"file_name": "alpha/20.jpg"}])
    with pytest.raises(InputError, match=r"annotations\.json: .*begin with 10.*write `video`"):
        read_detections(path, truth_of("alpha"))
    for first in (0, 1):
        options = FileOptions(first_frame=first)
        assert read_detections(path, truth_of("alpha"), options).frame.tolist() == [10 - first]


SIZE = {"file_name": "alpha/1.jpg", "width": 160, "height": 120}


@pytest.mark.parametrize(
    ("bbox", "size", "boxes"),
    [
        ([20, 10, 40, 60], (160, 120), [20, 10, 60, 70]),
        ([20, 10, 40, 60], (640, 360), [80, 30, 240, 210]),
        ([0.125, 0.25, 0.25, 0.5], None, [20, 30, 60, 90]),
        ([0.125, 0.25, 0.25, 0.5], (640, 360), [80, 90, 240, 270]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*scaling", "ignore:.*were converted")
def test_boxes_of_other_sizes(
    tmp_path: Path, bbox: list[float], size: tuple[int, int] | None, boxes: list[float]
) -> None:
    path = coco_files(tmp_path, [SIZE])
    path.write_text(json.dumps([{**RESULT, "bbox": bbox}]))
    units = [None] if bbox[0] > 1 else [None, FileOptions(box_unit="fraction")]
    for unit in units:
        found = read_detections(path, truth_of("alpha", size=size), unit)
        assert found.boxes.tolist() == [pytest.approx(boxes)]


def test_scaling_is_said(tmp_path: Path) -> None:
    path = coco_files(tmp_path, [SIZE])
    with pytest.warns(UserWarning, match="scaling 1 of 1 boxes .* alpha, from 160x120 to 80x60"):
        read_detections(path, truth_of("alpha", size=(80, 60)))


def test_turned_images_are_refused(tmp_path: Path) -> None:
    path = coco_files(tmp_path, [SIZE])
    with pytest.raises(InputError, match="images of alpha are 160x120, but the video is 120x160"):
        read_detections(path, truth_of("alpha", size=(120, 160)))


def test_pixels_are_no_fractions(tmp_path: Path) -> None:
    path = coco_files(tmp_path, [SIZE])
    with pytest.warns(UserWarning, match="a box reaches to 70, so these are read as pixels"):
        read = read_detections(path, truth_of("alpha"), FileOptions(box_unit="fraction"))
    assert read.boxes.max() == 70


def test_fractions_of_unknown_sizes(tmp_path: Path) -> None:
    path = coco_files(tmp_path, [{"file_name": "alpha/1.jpg"}])
    path.write_text(json.dumps([{**RESULT, "bbox": [0.125, 0.25, 0.25, 0.5]}]))
    with pytest.raises(InputError, match="the boxes are fractions of the frame"):
        read_detections(path, truth_of("alpha"))


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        ([None], {}, "images: image 1: must be a dict with id, not None"),
        ([{}], {}, "images: image 1: has no file_name"),
        ([{"file_name": 3.5}], {}, "images: image 1: file_name: must be text, not 3.5"),
        ([{"file_name": "alpha/first.jpg"}], {}, "image alpha/first.jpg: must be named <video>/"),
        ([{"video": "alpha", "frame": 0.7}], {}, "images: image 1: frame: must be a whole number"),
        ([{"video": "alpha", "frame": -1}], {}, "images: image 1: frame: must be 0 or more"),
        ([{**SIZE, "width": -160}], {}, "images: image 1: width: must be 1 or more, not -160"),
        ([{**SIZE, "width": "wide"}], {}, "images: image 1: width: must be a whole number"),
        ([{**SIZE, "id": 1}, {**SIZE, "id": 1}], {}, "images: image 2: id 1 is also that of .*1"),
        ([{**SIZE, "id": []}], {}, "images: image 1: id: must be a number or text"),
        ([SIZE], {"categories": {}}, "categories: must be a list with an item for each category"),
        ([SIZE], {"categories": [{"id": 1, "name": None}]}, "category 1: name: must be text"),
        ([SIZE], {"images": None}, "images: must be a list with an item for each image"),
    ],
)
def test_damaged_annotations(
    tmp_path: Path, images: list[Any], changes: dict[str, Any], message: str
) -> None:
    path = coco_files(tmp_path, images, changes)
    with pytest.raises(InputError, match=rf"annotations\.json: .*{message}"):
        read_detections(path, truth_of("alpha"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 7}, "result 2: image_id: 7 is not an id in .*annotations.json"),
        ({"image_id": []}, "result 2: image_id: must be a number or text"),
        ({"category_id": "1"}, "result 2: category_id: '1' is not an id in"),
        ({"bbox": [0, 0, 9]}, "result 2: bbox: must be 4 items: x, y, width, height, not a list"),
        ({"bbox": None}, "result 2: bbox: must be 4 items"),
        ({"bbox": [0, 0, "9", 9]}, "result 2: bbox: width: must be a number, not '9'"),
        ({"bbox": [0, 0, -9, 9]}, "row 2: x2 < x1"),
        ({"bbox": [0, 0, float("nan"), 9]}, "row 2: a value is NaN"),
        ({"bbox": [0, 0, 10**400, 9]}, "row 2: a value is NaN or infinite"),
        ({"score": None}, "result 2: score: must be a number, not None"),
        ({"score": 7}, "row 2: score must be between 0 and 1"),
    ],
)
def test_damaged_results(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = coco_files(tmp_path, [SIZE])
    path.write_text(json.dumps([RESULT, {**RESULT, **change}]))
    with pytest.raises(InputError, match=rf"results\.json: {message}"):
        read_detections(path, truth_of("alpha"))


def test_files_that_are_no_results(tmp_path: Path) -> None:
    path = coco_files(tmp_path, [SIZE])
    for text, message in (
        ("[{]", "is not valid JSON"),
        ("{}", "must be a list with an item for each result, not a dict"),
        ("[3]", "result 1: must be a dict with image_id, not 3"),
        ("[{}]", "result 1: has no image_id"),
        ("[" * 100_000, "too deep"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=rf"results\.json: .*{message}"):
            read_detections(path, truth_of("alpha"))
    (tmp_path / "annotations.json").unlink()
    with pytest.raises(InputError, match=r"annotations\.json: file not found.*--annotations"):
        read_detections(path, truth_of("alpha"))
