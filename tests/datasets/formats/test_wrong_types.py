"""Any other type at any place of a pickle, a JSON or a MATLAB file is refused in one line."""

from __future__ import annotations

import copy
import json
import pickle
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.class_list import ClassList
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats import ucf101_24
from actiontubes.datasets.formats.annotation_format import GroundTruth
from actiontubes.datasets.formats.registry import read_annotations, read_detections, read_tubes
from actiontubes.datasets.tables import Detections, Tubes, make_videos, tubes_from_rows

BOX = [10.0, 20.0, 30.0, 40.0]
JSON_VALUES: tuple[Any, ...] = (
    None, True, 3, -1, 0.5, float("nan"), 1e300, 10**400, "x", "", [], {}, [None], [[]], {"id": []},
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *JSON_VALUES, b"x", {1: 2}, {None: None}, (1, 2), np.int8(-3), np.array(None), np.array("x"),
    np.empty((0, 5)), np.ones(5), np.ones((2, 5)), np.full((1, 8), "a"), np.ones((1, 1, 1)),
    np.array([1j]), np.array([None, "x"], object),
)  # fmt: skip


def truth() -> GroundTruth:
    videos = ("Basketball/a", "Biking/b")
    tubes = tubes_from_rows([(0, 0, np.array([[0, *BOX]]), None)], videos, ("Basketball", "Biking"))
    return GroundTruth(
        path=Path("truth"), tubes=tubes, videos=make_videos(videos, 9, 320, 240),
        classes=ClassList(tubes.label_names),
    )  # fmt: skip


def places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys on the way to every value of nested dicts and lists."""
    yield place
    if isinstance(content, dict | list | tuple):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from places(value, (*place, key))


def changed(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a place."""
    if not place:
        return value
    content = copy.copy(content)
    if isinstance(content, tuple):
        return tuple(changed(content[i], place[1:], value) if i == place[0] else each
                     for i, each in enumerate(content))  # fmt: skip
    content[place[0]] = changed(content[place[0]], place[1:], value)
    return content


def check(read: Callable[[], Any], path: Path, made: object) -> None:
    """A read gives a table whose rows can be, or one line that names the file."""
    try:
        value = read()
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error), made
        return
    table = value.tubes if isinstance(value, GroundTruth) else value
    assert isinstance(table, Detections | Tubes), made
    assert np.isfinite(table.boxes).all() and (table.frame >= 0).all(), made
    assert (table.boxes[:, :2] <= table.boxes[:, 2:]).all(), made
    assert all(name.strip() for name in (*table.video_names, *table.label_names)), made


ROWS = np.array([[1, *BOX], [2, *BOX]])
PYANNOT = {"label": 0, "sf": 1, "ef": 3, "boxes": [[10, 20, 20, 20], [10, 20, 20, 20]]}
PICKLES: dict[str, tuple[str, Any, Callable[[Path], Any]]] = {
    "act": ("gt.pkl", {
        "labels": ["walk", "run"],
        "gttubes": {"walk/a": {0: [ROWS.tolist()]}, "run/b": {1: [ROWS, ROWS]}},
        "nframes": {"walk/a": 3, "run/b": 3},
        "resolution": {"walk/a": (240, 320), "run/b": (120, 160)},
        "train_videos": [["walk/a"]],
        "test_videos": [["run/b"]],
    }, read_annotations),
    "pyannot": ("pyannot.pkl", {
        "Basketball/a": {"annotations": [PYANNOT], "numf": 9, "label": 0},
    }, read_annotations),
    "detections": ("frame_detections.pkl", [[0, 1, 1, 0.5, *BOX], [1, 2, 0, 0.5, *BOX]],
                   lambda path: read_detections(path, truth())),
    "tubes": ("video_detections.pkl", {0: [("Biking/b", 0.5, ROWS)], 1: []},
              lambda path: read_tubes(path, truth())),
    "moc": ("moc/Biking/b/00001.pkl", {1: [[*BOX, 0.5]], 2: []},
            lambda path: read_detections(path.parents[2], truth())),
    "act-tubelets": ("act/Biking/b/00001.pkl", ([[1, 0.5, *BOX, *BOX]], [[0.5]]),
                     lambda path: read_detections(path.parents[2], truth())),
    "act-tubes": ("act/Biking/b_tubes.pkl", {0: [(ROWS.tolist(), 0.5)], 1: []},
                  lambda path: read_tubes(path.parents[1], truth())),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_pickles(name: str, tmp_path: Path) -> None:
    file, content, read = PICKLES[name]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if name in ("moc", "act-tubelets", "act-tubes"):
        other = path.parents[-1 - len(tmp_path.parts)] / "Basketball"
        (other / "a").mkdir(parents=True)
        (other / "a_tubes.pkl").write_bytes(pickle.dumps({}))
    folder = path if path.parent == tmp_path else tmp_path / file.split("/")[0]
    for place in places(content):
        for value in VALUES:
            path.write_bytes(pickle.dumps(changed(content, place, value)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(lambda: read(path), folder, (place, value))


IMAGES = [
    {"id": 1, "file_name": "Basketball/a/00001.jpg", "width": 320, "height": 240},
    {"id": 2, "video": "Biking/b", "frame": 3},
]
ANNOTATIONS = {"images": IMAGES, "categories": [{"id": 1, "name": "Biking"}], "annotations": []}
RESULTS = [{"image_id": i, "category_id": 1, "bbox": BOX, "score": 0.5} for i in (1, 2)]


@pytest.mark.parametrize("name", ["annotations", "results"])
def test_coco(name: str, tmp_path: Path) -> None:
    files = {"annotations": ANNOTATIONS, "results": RESULTS}
    for each, content in files.items():
        (tmp_path / f"{each}.json").write_text(json.dumps(content))
    for place in places(files[name]):
        for value in JSON_VALUES:
            made = changed(files[name], place, value)
            (tmp_path / f"{name}.json").write_text(json.dumps(made))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(
                    lambda: read_detections(tmp_path / "results.json", truth()),
                    tmp_path, (place, value),
                )  # fmt: skip


def test_matlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SciPy makes of finalAnnots.mat, without its file."""
    tube = {"sf": 2, "ef": 3, "class": 1, "boxes": np.array([[10, 20, 20, 20]] * 2, np.uint8)}
    content = [{"name": "Basketball/a", "num_imgs": 9, "tubes": tube},
               {"name": "Basketball/b", "num_imgs": 9, "tubes": [tube, tube]}]  # fmt: skip
    path = tmp_path / "finalAnnots.mat"
    path.touch()
    for place in places(content):
        for value in VALUES:
            made = changed(content, place, value)
            monkeypatch.setattr(ucf101_24, "load_matlab", lambda *_, made=made, **__: made)
            check(lambda: read_annotations(path), path, (place, value))


def test_a_long_text_among_many_numbers_takes_no_memory(tmp_path: Path) -> None:
    """NumPy alone would make a text of a million characters of each of the numbers."""
    rows = [[1, 3, 1, 0.5, 10.0, 12.0, 40.0, 60.0]] * 10_000
    path = tmp_path / "frame_detections.pkl"
    path.write_bytes(pickle.dumps([*rows, [*rows[0][:7], "9" * 1_000_000]]))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"frame_detections\.pkl"):
        read_detections(path, truth())
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()
