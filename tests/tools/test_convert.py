"""`actiontubes convert` by its command line: formats said aloud, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubes, Videos

TABLE = """video,tube,label,frame,x1,y1,x2,y2
clip,0,walk,0,1,2,30,40
clip,0,walk,1,1,2,30,40
"""
MOT = "1,4,1,2,29,38,1,2,-1\n2,4,1,2,29,38,1,2,-1\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    return path


def test_formats_are_recognized_and_said(command, tmp_path: Path, table: Path) -> None:
    names = {
        "cvat": ("c.zip", "CVAT for video 1.1"),
        "mot": ("clip.mot.txt", "MOT Challenge's text files"),
        "coco": ("c.json", "COCO's JSON"), "yowo": ("y", "YOWO's text files"),
    }  # fmt: skip
    for name, (file, words) in names.items():
        out = tmp_path / "out" / file
        done = command("convert", table, "--to", name, "--out", out)
        assert (done.code, done.err[0]) == (0, f"{table}: read as a table")
        assert done.out.startswith(f"{out}: 1 videos, 1 tubes, 2 boxes, 1 classes")
        done = command("convert", out, "--to", "table", "--out", tmp_path / f"{name}.csv")
        assert done.code == 0
        assert f"{out}: read as {words}" in done.err
        back = read_table(Tubes, tmp_path / f"{name}.csv")
        assert back.label_names == ("walk",)
        assert sorted(back.frame.tolist()) == [0, 1]
        assert back.boxes.tolist() == [[1, 2, 30, 40]] * 2


def test_class_numbers_need_names(command, tmp_path: Path) -> None:
    path = tmp_path / "clip.txt"
    path.write_text(MOT)
    out = tmp_path / "t.csv"
    done = command("convert", path, "--to", "table", "--out", out)
    assert (done.code, out.exists()) == (2, False)
    assert "holds class numbers (2); name them with --classes" in done.err[-1]
    names = tmp_path / "names.list"
    names.write_text("walk\nwave\n")
    assert command("convert", path, "--to", "table", "--out", out, "--classes", names).code == 0
    tubes = read_table(Tubes, out)
    assert (tubes.label_names, tubes.frame.tolist()) == (("wave",), [0, 1])
    assert tubes.person is not None
    assert tubes.person.tolist() == [4, 4]


def test_a_trackers_output_without_classes_is_of_persons(command, tmp_path: Path) -> None:
    path = tmp_path / "clip.txt"
    path.write_text("1,4,1,2,29,38,0.75,-1,-1,-1\n")
    done = command("convert", path, "--to", "table", "--out", tmp_path / "t.csv")
    assert f"warning: {path}: has no classes; all boxes are of the class person" in done.err
    tubes = read_table(Tubes, tmp_path / "t.csv")
    assert tubes.score is not None
    assert (tubes.label_names, tubes.score.tolist()) == (("person",), [0.75])


def test_detections_stay_detections(command, tmp_path: Path) -> None:
    path = tmp_path / "clip.txt"
    path.write_text("0,-1,1,2,29,38,0.75,-1,-1,-1\n")
    assert command("convert", path, "--to", "table", "--out", tmp_path / "t.csv").code == 0
    boxes = read_table(Detections, tmp_path / "t.csv")
    assert boxes.frame.tolist() == [0]  # a file with a frame 0 counts from 0
    done = command("convert", path, "--to", "cvat", "--out", tmp_path / "t.xml")
    assert done.code == 2
    assert "link them first" in done.err[-1]


def test_a_folder_has_the_videos_that_stand_beside(command, numbered, tmp_path, table) -> None:
    numbered.write(tmp_path / "clip.mp4", num_frames=5)
    assert command("convert", table, "--to", "table", "--out", tmp_path / "data").code == 0
    videos = read_table(Videos, tmp_path / "data" / "videos.csv")
    assert (videos.video, videos.num_frames.tolist(), videos.fps.tolist()) == (("clip",), [5], [25])
    assert command("convert", table, "--to", "act", "--out", tmp_path / "gt.pkl").code == 0


def test_ava_needs_rates_and_sizes(command, tmp_path: Path) -> None:
    path = tmp_path / "ava.csv"
    path.write_text("clip,0002,0.25,0.5,0.5,1,12,0\n")
    out = tmp_path / "t.csv"
    done = command("convert", path, "--to", "table", "--out", out)
    assert (done.code, out.exists()) == (2, False)
    assert "videos.csv beside it" in done.err[-1]
    rates = tmp_path / "videos.csv"
    rates.write_text("video,num_frames,width,height,fps\nclip,60,64,48,12.5\n")
    assert command("convert", path, "--to", "table", "--out", out).code == 0
    tubes = read_table(Tubes, out)
    assert (tubes.frame.tolist(), tubes.boxes.tolist()) == ([25], [[16, 24, 32, 48]])
    rates.write_text("video,num_frames,width,height,fps\nclip,20,64,48,12.5\n")
    done = command("convert", path, "--to", "table", "--out", out)
    assert done.code == 2
    assert "second 2 of video clip is behind its end (1.6 s)" in done.err[-1]


def test_a_part_of_a_film_begins_at_second_900(command, tmp_path: Path) -> None:
    path, out = tmp_path / "ava.csv", tmp_path / "t.csv"
    path.write_text("clip,0902,0.25,0.5,0.5,1,12,0\n")
    (tmp_path / "videos.csv").write_text("video,num_frames,width,height,fps\nclip,60,64,48,12.5\n")
    done = command("convert", path, "--to", "table", "--out", out)
    assert done.code == 0
    assert any("1 videos begin at second 900 of their film (clip)" in line for line in done.err)
    assert read_table(Tubes, out).frame.tolist() == [25]


def test_only_listed_videos(command, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TABLE + "other,1,walk,0,1,2,30,40\n")
    chosen = tmp_path / "list.txt"
    chosen.write_text("other\n")
    done = command(
        "convert", path, "--to", "table", "--out", tmp_path / "o.csv", "--videos", chosen
    )
    assert done.code == 0
    assert any(
        "2 of 3 boxes are of videos that --videos does not list" in line for line in done.err
    )
    assert read_table(Tubes, tmp_path / "o.csv").video_names == ("other",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--from", "cvatt"), "--from cvatt: unknown; choose from"),
        (("--from", "coco"), "is not valid JSON"),
        (("--from", "cvat"), "is not valid XML"),
    ],
)
def test_a_wrong_format_is_one_line(command, tmp_path, table, words, message) -> None:
    done = command("convert", table, "--to", "table", "--out", tmp_path / "o.csv", *words)
    assert done.code == 2
    assert message in done.err[-1]
    assert not (tmp_path / "o.csv").exists()


def test_coco_frames_may_count_from_one(command, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '{"videos": [{"id": 1, "name": "clip.mp4"}], "categories": [{"id": 3, "name": "walk"}],'
        '"images": [{"id": 1, "video_id": 1, "frame_id": 1, "file_name": "x.jpg"},'
        '{"id": 2, "video_id": 1, "frame_id": 2, "file_name": "y.jpg"}], "annotations": ['
        '{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "track_id": "a"},'
        '{"id": 2, "image_id": 2, "category_id": 3, "bbox": [1, 2, 3, 4], "track_id": "a"}]}'
    )
    out = tmp_path / "o.csv"
    done = command("convert", path, "--to", "table", "--out", out)
    assert any("frames are taken to count from 1" in line for line in done.err)
    tubes = read_table(Tubes, out)
    assert (tubes.video_names, tubes.frame.tolist(), tubes.tube.tolist()) == (
        ("clip",),
        [0, 1],
        [0, 0],
    )
    path.write_text(path.read_text().replace('"frame_id": 1', '"frame_id": 5'))
    path.write_text(path.read_text().replace('"frame_id": 2', '"frame_id": 6'))
    done = command("convert", path, "--to", "table", "--out", out)
    assert done.code == 2
    assert "may count from 0 or from 1; give --first-frame" in done.err[-1]


def test_youtube_vis_has_the_boxes_of_a_track_in_a_list(command, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '{"videos": [{"id": 1, "file_names": ["clip/00.jpg", "clip/01.jpg", "clip/02.jpg"]}],'
        '"categories": [{"id": 3, "name": "walk"}], "annotations": [{"id": 1, "video_id": 1,'
        '"category_id": 3, "bboxes": [[1, 2, 3, 4], null, [5, 6, 7, 8]]}]}'
    )
    assert command("convert", path, "--to", "table", "--out", tmp_path / "o.csv").code == 0
    tubes = read_table(Tubes, tmp_path / "o.csv")
    assert (tubes.video_names, tubes.frame.tolist()) == (("clip",), [0, 2])
    assert tubes.boxes.tolist() == [[1, 2, 4, 6], [5, 6, 12, 14]]


def test_columns_of_other_programs(command, tmp_path: Path) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "t.parquet"
    head = "filename,frame,class,xmin,ymin,xmax,ymax,track_id"
    path.write_text(f"{head}\nclip.mp4,0,walk,1,2,30,40,7\nclip.mp4,1,walk,1,2,30,40,7\n")
    done = command("convert", path, "--to", "table", "--out", out)
    assert done.code == 0
    words = "filename as video, class as label, xmin as x1, ymin as y1, xmax as x2, ymax as y2"
    assert f"warning: {path}: reading column {words}, track_id as tube" in done.err
    assert read_table(Tubes, out).label_names == ("walk",)
    path.write_text(path.read_text().replace("filename", "image"))
    done = command("convert", path, "--to", "table", "--out", out)
    assert done.code == 2
    assert "; video may also be called filename, file_name, video_name" in done.err[-1]
    path.write_text(path.read_text().replace("xmin,ymin,xmax,ymax", "x,y,w,h"))
    done = command("convert", path, "--to", "table", "--out", out)
    assert done.code == 2
    assert done.err[-1].endswith("; boxes are x1, y1, x2, y2, or xmin, ymin, xmax, ymax")


def test_files_of_a_tracker_count_frames_alike(command, tmp_path: Path) -> None:
    """A frame 0 in one file says that the others count from 0, too."""
    folder, out = tmp_path / "mot", tmp_path / "t.csv"
    folder.mkdir()
    for name, first in (("a", 2), ("b", 0)):
        rows = (f"{frame},1,1,2,29,38,1,-1,-1,-1\n" for frame in range(first, 4))
        (folder / f"{name}.txt").write_text("".join(rows))
    assert command("convert", folder, "--to", "table", "--out", out).code == 0
    assert read_table(Tubes, out).frame.tolist() == [2, 3, 0, 1, 2, 3]
    done = command("convert", folder, "--to", "table", "--out", out, "--first-frame", 1)
    assert done.code == 2
    assert f"{folder / 'b.txt'}: row 1: the frame is before the first, 1" in done.err[-1]
