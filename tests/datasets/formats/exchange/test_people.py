"""Person boxes of label tools and trackers: which of them, in whose pixels, and with which gaps."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.exchange.people import read_people
from actiontubes.datasets.video.reader import VideoInfo
from actiontubes.detect.people.proposals import open_proposal_source

CLIP = VideoInfo(Path("clip.mp4"), 64, 48, 25.0, 20)
TASK = (
    "<task><id>1</id><name>t</name><start_frame>0</start_frame><stop_frame>{stop}</stop_frame>"
    "<frame_filter>{step}</frame_filter><original_size><width>{width}</width><height>{height}"
    "</height></original_size><source>clip.mp4</source></task>"
)


def cvat(path: Path, *tracks: tuple[str, dict[int, tuple[int, ...] | None]], stop: int = 19,
         step: str = "", width: int = 64, height: int = 48) -> Path:  # fmt: skip
    """A file of tracks: label, and by frame a box, or None from where the object is outside."""
    meta = TASK.format(stop=stop, step=step, width=width, height=height)
    shapes = []
    for number, (label, boxes) in enumerate(tracks):
        shapes.append(f'<track id="{number}" label="{label}">')
        for frame, box in boxes.items():
            x1, y1, x2, y2 = box or (0, 0, 1, 1)
            shapes.append(
                f'<box frame="{frame}" outside="{int(box is None)}" keyframe="1" xtl="{x1}" '
                f'ytl="{y1}" xbr="{x2}" ybr="{y2}"><attribute name="mood">__undefined__'
                "</attribute></box>"
            )
        shapes.append("</track>")
    path.write_text(f"<annotations><meta>{meta}</meta>{''.join(shapes)}</annotations>")
    return path


def frames_with_boxes(path: Path, video: VideoInfo = CLIP) -> dict[int, list[list[float]]]:
    opened = open_proposal_source(str(path)).open(video)
    frames = np.zeros((video.num_frames, video.height, video.width, 3), np.uint8)
    found = opened.propose(frames, 0)
    return {number: each.boxes.tolist() for number, each in enumerate(found) if len(each)}


def test_people_need_no_action(tmp_path: Path) -> None:
    """Boxes without an action are people too, which `convert` leaves out."""
    path = cvat(tmp_path / "a.xml", ("person", {0: (1, 2, 9, 20), 4: (5, 2, 13, 20), 5: None}))
    boxes = frames_with_boxes(path)
    assert boxes == {frame: [[1 + frame, 2, 9 + frame, 20]] for frame in range(5)}


def test_cvat_says_where_nobody_is(tmp_path: Path) -> None:
    """Outside is no gap: between its stretches nothing is interpolated, as it is in a table."""
    shapes = {0: (1, 2, 9, 20), 2: None, 6: (1, 2, 9, 20), 8: None}
    path = cvat(tmp_path / "a.xml", ("person", shapes))
    assert list(frames_with_boxes(path)) == [0, 1, 6, 7]
    table = tmp_path / "a.csv"
    rows = "".join(f"clip,{frame},1,2,9,20,1\n" for frame in (0, 1, 6, 7))
    table.write_text("video,frame,x1,y1,x2,y2,person\n" + rows)
    with pytest.warns(UserWarning, match="1 gaps of up to 20 frames .* 4 boxes in all"):
        assert list(frames_with_boxes(table)) == list(range(8))


def test_gaps_in_mot_are_interpolated_and_said(tmp_path: Path) -> None:
    path = tmp_path / "clip.txt"
    path.write_text("".join(f"{frame},4,{frame},5,10,20,1,-1,-1,-1\n" for frame in (1, 2, 6, 7)))
    with pytest.warns(UserWarning, match="1 gaps of up to 20 frames .* 3 boxes in all"):
        boxes = frames_with_boxes(path)
    assert boxes == {frame: [[frame + 1, 5, frame + 11, 25]] for frame in range(7)}


def test_a_task_with_a_step_is_interpolated(tmp_path: Path) -> None:
    shapes = {0: (0, 2, 10, 20), 5: (5, 2, 15, 20), 10: (10, 2, 20, 20), 15: None}
    path = cvat(tmp_path / "a.xml", ("person", shapes), stop=15, step="step=5")
    with pytest.warns(UserWarning, match=r"every n-th frame only \(clip.mp4, 5 frames apart\)"):
        boxes = frames_with_boxes(path)
    assert boxes == {frame: [[frame, 2, frame + 10, 20]] for frame in range(11)}


def test_only_people_where_a_class_is_called_so(tmp_path: Path) -> None:
    car = ("car", {3: (30, 2, 39, 20), 4: None})
    path = cvat(tmp_path / "a.xml", ("Person", {3: (1, 2, 9, 20), 4: None}), car)
    words = r"taking the boxes of Person; 1 of 2 are of other classes \(car\), and are left out"
    with pytest.warns(UserWarning, match=words):
        assert frames_with_boxes(path) == {3: [[1, 2, 9, 20]]}
    path = cvat(tmp_path / "b.xml", ("walk", {3: (1, 2, 9, 20), 4: None}), car)
    with pytest.warns(UserWarning, match=r"all its classes \(walk, car\) are taken for people"):
        assert len(frames_with_boxes(path)[3]) == 2


@pytest.mark.parametrize("source", ["cvat", "coco", "results"])
def test_boxes_of_another_size_of_frames(tmp_path: Path, source: str) -> None:
    """Annotated at 128x96, while the video is 64x48."""
    image = {"id": 1, "video": "clip", "frame": 3, "file_name": "", "width": 128, "height": 96}
    box = {"image_id": 1, "category_id": 1, "bbox": [2, 4, 16, 36], "score": 1.0}
    described = {"images": [image], "categories": [{"id": 1, "name": "person"}]}
    path = tmp_path / "a.json"
    if source == "cvat":
        path = cvat(
            tmp_path / "a.xml", ("person", {3: (2, 4, 18, 40), 4: None}), width=128, height=96
        )
    elif source == "coco":
        path.write_text(json.dumps({**described, "annotations": [box | {"id": 1}]}))
    else:
        path.write_text(json.dumps([box]))
        (tmp_path / "annotations.json").write_text(json.dumps(described))
    with pytest.warns(
        UserWarning, match="is 64x48, its boxes are of frames of 128x96; they are sc"
    ):
        assert list(frames_with_boxes(path).values()) == [[[1, 2, 9, 20]]]
    with pytest.raises(InputError, match=r"clip.mp4 is 64x40, its boxes are of frames of 128x96"):
        frames_with_boxes(path, VideoInfo(Path("clip.mp4"), 64, 40, 25.0, 20))


def test_boxes_without_tracks_are_of_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    images = [{"id": n, "file_name": f"clip/{n:05}.jpg"} for n in (0, 1)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [2, 4, 6, 8]} for n in (0, 1)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="no track_id"):
        assert read_people(path).boxes.person is None
    for number, box in enumerate(boxes):
        box["track_id"] = number // 2
    path.write_text(json.dumps(content))
    people = read_people(path).boxes
    assert people.person is not None and people.person.tolist() == [1, 1]


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.csv"
    path.write_text("clip,0902,0.25,0.5,0.5,1,12,0\n")
    with pytest.raises(InputError, match="cannot be used as person boxes; make a table of it with"):
        read_people(path)


def test_a_folder_of_tables(tmp_path: Path) -> None:
    (tmp_path / "groundtruth.csv").write_text(
        "video,frame,label,x1,y1,x2,y2,tube\nclip,3,walk,1,2,9,20,5\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frames_with_boxes(tmp_path) == {3: [[1, 2, 9, 20]]}
