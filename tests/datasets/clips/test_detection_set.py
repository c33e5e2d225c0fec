"""The two parts of a data set, and what does not fit its videos, named row by row."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from actiontubes.datasets.clips.detection_set import DetectionSet, open_detection_sets
from actiontubes.datasets.clips.ground_truth_checks import video_sizes
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.datasets.formats.registry import read_annotations, read_ground_truth
from actiontubes.datasets.video.media import locate_videos

Shared = Callable[[str], Path]

ROWS = """video,frame,label,x1,y1,x2,y2,tube
run/a,0,run,0,0,10,20,0
run/a,1,run,1,0,11,20,0
run/b,3,run,5,5,30,40,0
sit/c,2,sit,50,10,64,48,0
sit/c,2,wave,50,10,64,48,1
"""
VIDEOS = """video,num_frames,width,height,split
run/a,4,64,48,train
run/b,4,64,48,test
sit/c,4,64,48,train
sit/empty,4,64,48,test
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, numbered: Any) -> Path:
    """Videos of four frames, 64 x 48."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("run/a", "run/b", "sit/c", "sit/empty"):
        (folder / name).parent.mkdir(exist_ok=True)
        numbered.write(folder / f"{name}.mp4", num_frames=4)
    return folder


@pytest.fixture
def data(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "data")
    (tmp_path / "data/groundtruth.csv").write_text(ROWS)
    (tmp_path / "data/videos.csv").write_text(VIDEOS)
    return tmp_path / "data"


def rows(part: DetectionSet) -> list[tuple[str, int, str, float]]:
    tubes = part.tubes
    return [
        (part.names[video], frame, part.labels[label], box[0])
        for video, frame, label, box in zip(
            tubes.video, tubes.frame.tolist(), tubes.label, tubes.boxes.tolist()
        )
    ]


def test_a_folder_with_the_split_in_its_table(data: Path) -> None:
    train, test = open_detection_sets(data)
    assert train.names == ("run/a", "sit/c") and test.names == ("run/b", "sit/empty")
    assert train.labels == test.labels == ("run", "sit", "wave")
    assert train.tubes.video_names == train.names and test.tubes.label_names == test.labels
    assert rows(train) == [
        ("run/a", 0, "run", 0.0),
        ("run/a", 1, "run", 1.0),
        ("sit/c", 2, "sit", 50.0),
        ("sit/c", 2, "wave", 50.0),
    ]
    assert rows(test) == [("run/b", 3, "run", 5.0)]
    assert train.media == (data / "run/a.mp4", data / "sit/c.mp4")
    assert len(test) == 2
    assert [test.num_frames.tolist(), test.width.tolist(), test.height.tolist()] == [
        [4, 4], [64, 64], [48, 48],
    ]  # fmt: skip


def test_split_lists_go_before_the_table(data: Path) -> None:
    (data / "splits").mkdir()
    (data / "splits/train2.txt").write_text("sit/c\nrun/b\n")
    (data / "splits/test2.txt").write_text("run/a\n")
    train, test = open_detection_sets(data, split=2)
    assert (train.names, test.names) == (("sit/c", "run/b"), ("run/a",))
    with pytest.raises(InputError, match="has no such split; its lists are test2, train2"):
        open_detection_sets(data)
    (data / "splits/test2.txt").unlink()
    train, test = open_detection_sets(data, split=2)
    assert test.names == ("run/a", "sit/empty")


def test_videos_named(data: Path, tmp_path: Path) -> None:
    train, test = open_detection_sets(data, train_videos=["c", "c"])
    assert train.names == ("sit/c",)
    assert test.names == ("run/b", "sit/empty")
    (tmp_path / "list.txt").write_text("run/a.mp4 1\nsit/c.mp4 2\n")
    train, test = open_detection_sets(
        data, train_videos=[str(tmp_path / "list.txt")], test_videos=["run/b"]
    )
    assert (train.names, test.names) == (("run/a", "sit/c"), ("run/b",))
    # Only classes that are there.
    assert open_detection_sets(data, train_videos=["a"], test_videos=["b"])[0].labels == ("run",)


def test_boxes_of_frames_of_another_size(data: Path) -> None:
    """CVAT and COCO say the size that boxes refer to; the video may be a smaller copy."""
    truth = replace(read_annotations(data / "groundtruth.csv"), videos=None)
    videos = ["run/a"], [data / "run/a.mp4"]
    larger = video_sizes(replace(truth, frame_size={"run/a": (128, 96)}), *videos)
    assert larger.tolist() == [[4, 128, 96]]
    with pytest.raises(InputError, match=r"is 64x48, but groundtruth.csv has boxes in frames of"):
        video_sizes(replace(truth, frame_size={"run/a": (128, 90)}), *videos)


def test_videos_are_measured_where_no_table_says(data: Path) -> None:
    with_table, _ = open_detection_sets(data)
    (data / "videos.csv").unlink()
    train, _ = open_detection_sets(data, train_videos=["a", "c"], test_videos=["b"])
    for column in ("num_frames", "width", "height"):
        assert getattr(train, column).tolist() == getattr(with_table, column).tolist()


def test_without_a_split_a_warning(data: Path) -> None:
    (data / "videos.csv").unlink()
    with pytest.warns(UserWarning, match="defines no test videos"):
        train, test = open_detection_sets(data)
    assert train.names == test.names == ("run/a", "run/b", "sit/c")
    with pytest.warns(UserWarning, match="defines no test videos"):
        train, _ = open_detection_sets(data / "groundtruth.csv")
    assert train.media[0] == data / "run/a.mp4"


def test_classes_in_the_order_given(data: Path) -> None:
    train, test = open_detection_sets(data, labels=["wave", "sit", "jump", "run"])
    assert train.labels == ("wave", "sit", "jump", "run")
    assert train.tubes.label.tolist() == [3, 3, 1, 0] and test.tubes.label.tolist() == [3]


def test_classes_in_another_spelling(data: Path) -> None:
    train, _ = open_detection_sets(data, labels=["Wave", " SIT", "run_"])
    assert train.labels == ("Wave", " SIT", "run_")
    assert train.tubes.label.tolist() == [2, 2, 1, 0]


@pytest.mark.parametrize("sizes", [True, False])
def test_fractions_only_where_the_user_says_so(data: Path, sizes: bool) -> None:
    """Also where the table of videos has the sizes."""
    text = "video,frame,label,x1,y1,x2,y2,tube\nrun/a,0,run,0.25,0.5,0.5,1,0\n"
    (data / "groundtruth.csv").write_text(text + "run/b,0,run,0,0,0.5,0.5,1\n")
    if not sizes:
        (data / "videos.csv").unlink()
    options: dict[str, Any] = {"train_videos": ["a"], "test_videos": ["b"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"groundtruth.csv: the boxes are fractions .*--boxes"):
            open_detection_sets(data, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train, test = open_detection_sets(data, **options, files=FileOptions(box_unit="fraction"))
    assert train.tubes.boxes.tolist() == [[16, 24, 32, 48]]
    assert test.tubes.boxes.tolist() == [[0, 0, 32, 24]]


def test_media_elsewhere_as_frames(data: Path, tmp_path: Path) -> None:
    for name in ("run/a", "sit/c", "run/b"):
        (tmp_path / "real" / name).mkdir(parents=True)
        for frame in range(1, 5):
            cv2.imwrite(str(tmp_path / f"real/{name}/{frame:05d}.jpg"), np.zeros((24, 32, 3)))
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/linked").symlink_to(tmp_path / "real")
    (tmp_path / "real/up").symlink_to(tmp_path / "frames")
    options: dict[str, Any] = {"train_videos": ["a", "c"], "test_videos": ["b"]}
    train, _ = open_detection_sets(data, media=tmp_path / "frames", **options)
    assert train.media[0] == tmp_path / "frames/linked/run/a"
    # The boxes mean the table's pixels; without one, those of the pictures.
    assert train.width.tolist() == [64, 64]
    (data / "videos.csv").unlink()
    with pytest.raises(InputError, match=r"row 4: sit/c frame 2 .*outside the frame of 32x24"):
        open_detection_sets(data, media=tmp_path / "frames", **options)


def test_folders_of_annotations_are_no_media(tmp_path: Path) -> None:
    for path in ("a_masks/golf/one", "Frames/golf/one", "b/golf/two", "x/golf", "y/walk"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "a_masks/golf/one/puppet_mask.mat").touch()
    (tmp_path / "Frames/golf/one/00001.png").touch()
    (tmp_path / "x/golf/three.avi").touch()
    (tmp_path / "y/walk/three.avi").touch()
    assert locate_videos(tmp_path, ["golf/one", "golf/two", "walk/three", "golf/three"]) == {
        "golf/one": tmp_path / "Frames/golf/one",
        "golf/three": tmp_path / "x/golf/three.avi",
        "walk/three": tmp_path / "y/walk/three.avi",
    }


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "run/a,1,run,1",
            "run/a,4,run,1",
            r"groundtruth.csv: video run/a, frame 4: the video ends before",
        ),
        ("b,3,run,5,5,30", "b,3,run,64,5,80", r"row 3: run/b frame 3: the box is outside .* 64x48"),
        ("0,0,10,20,0\n", "-9,0,-1,20,0\n", r"row 1: run/a frame 0: the box is outside"),
        ("c,2,sit,50,10,64,48", "c,2,sit,50,48,64,49", r"row 4: sit/c .*outside"),
    ],
)
def test_boxes_that_do_not_fit(data: Path, old: str, new: str, message: str) -> None:
    (data / "groundtruth.csv").write_text(changed(ROWS, old, new))
    with pytest.raises(InputError, match=message) as error:
        open_detection_sets(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_videos": ["nobody"]}, r"video nobody is not in .*csv; names look like run/a"),
        ({"train_videos": ["sit/empty"]}, "has no boxes for any of the 1 training videos"),
        (
            {"labels": ["run", "sit"]},
            r"row 5: sit/c frame 2: class wave is not one of --labels .run, sit",
        ),
        ({"labels": ["run", "run"]}, "run is given twice"),
        ({"labels": []}, r"row 1: .*class run"),
        ({"media": Path("nowhere")}, "nowhere: folder not found"),
        ({"train_videos": []}, "the list is empty"),
    ],
)
def test_options_that_do_not_fit(data: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_detection_sets(data, **options)


def test_videos_that_are_not_there(data: Path) -> None:
    (data / "run/b.mp4").unlink()
    with pytest.raises(InputError, match=r"data: 1 of 4 videos were not found .the first is run/b"):
        open_detection_sets(data)
    assert open_detection_sets(data, test_videos=["sit/empty"])[1].names == ("sit/empty",)


@pytest.mark.parametrize(
    ("file", "copy"),
    [
        ("run/a.mp4", "other/run/a.mp4"),
        ("run/a.mp4", "run/a.avi"),
        ("run/a.mp4", "run/a/00001.jpg"),
    ],
)
def test_two_files_of_one_video(data: Path, file: str, copy: str) -> None:
    (data / copy).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(data / file, data / copy)
    second = Path(copy).parent if copy.endswith("jpg") else copy
    name = file.removesuffix(".mp4")
    with pytest.raises(InputError, match=rf"data: video {name} could be ") as error:
        open_detection_sets(data)
    assert file in str(error.value) and str(second) in str(error.value)


def test_one_file_by_two_ways_and_an_extension_in_the_name(data: Path) -> None:
    (data / "more").symlink_to(data / "run")
    assert open_detection_sets(data)[0].media[0] == data / "run/a.mp4"
    shutil.copy(data / "run/a.mp4", data / "run/a.avi")
    assert locate_videos(data, ["run/a.avi"]) == {"run/a.avi": data / "run/a.avi"}
    (data / "run/a.avi").rename(data / "sit/a.mp4")
    # The folder of the name says which.
    assert locate_videos(data, ["run/a", "a2"]) == {"run/a": data / "run/a.mp4"}
    assert locate_videos(data, ["a"], skip=data / "sit") == {"a": data / "more/a.mp4"}


@pytest.mark.parametrize(
    ("lists", "options", "message"),
    [
        ({"train1": "run/a\nsit/c\n", "test1": "sit/c.mp4\nrun/b\n"}, {},
         r"video sit/c is in both the training list train1 and the test list test1"),
        ({"train1": "run/a\nrun/b\n", "test1": "run/a\nrun/b\n"}, {},
         r"video run/a \(and 1 more video\) is in both"),
        ({}, {"train_videos": ["b"]}, r"video run/b is in both .*--train-videos .*list test1"),
        ({}, {"train_videos": ["a", "b"], "test_videos": ["run/b", "sit/c"]},
         r"run/b is in both .* --train-videos and the test list --test-videos"),
    ],
)  # fmt: skip
def test_a_video_in_both_parts(
    data: Path, lists: dict[str, str], options: dict[str, Any], message: str
) -> None:
    for name, text in lists.items():
        (data / "splits").mkdir(exist_ok=True)
        (data / f"splits/{name}.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        open_detection_sets(data, **options)


def test_the_same_videos_named_for_both_parts(data: Path) -> None:
    with pytest.warns(UserWarning, match="are the same: the detector is tested on its training"):
        train, test = open_detection_sets(data, train_videos=["a", "b"], test_videos=["b", "a"])
    assert set(train.names) == set(test.names) == {"run/a", "run/b"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("run/b,4,48,64", r"b\.mp4: video run/b is 64x48, but the table of videos says 48x64"),
        ("run/b,4,320,180", r"run/b is 64x48, but the table of videos says 320x180; correct"),
        ("run/b,9,64,48", r"b\.mp4: video run/b has 4 frames, but the table of videos says 9"),
    ],
)
def test_videos_of_another_shape_or_length(data: Path, row: str, message: str) -> None:
    (data / "videos.csv").write_text(changed(VIDEOS, "run/b,4,64,48", row))
    with pytest.raises(InputError, match=message) as error:
        open_detection_sets(data)
    assert "\n" not in str(error.value)


def test_videos_of_another_size_and_nearly_the_length(data: Path) -> None:
    text = changed(VIDEOS, "run/b,4,64,48", "run/b,4,128,95")
    (data / "videos.csv").write_text(changed(text, "sit/c,4,", "sit/c,5,"))
    with pytest.warns(UserWarning, match=r"c\.mp4: video sit/c has 4 frames, but .* says 5$"):
        _, test = open_detection_sets(data)
    assert (test.width.tolist(), test.height.tolist()) == ([128, 64], [95, 48])


def test_one_last_part_of_two_videos(data: Path) -> None:
    text = VIDEOS + "walk/a,4,64,48,test\n"
    (data / "videos.csv").write_text(text)
    with pytest.raises(InputError, match="video a could be run/a, walk/a"):
        open_detection_sets(data, train_videos=["a"])
    # run/a.mp4 is not taken for walk/a.
    with pytest.raises(InputError, match=r"1 of 2 videos were not found .the first is walk/a"):
        open_detection_sets(data, train_videos=["run/a"], test_videos=["walk/a"])


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"contains no ground truth; expected groundtruth\.parquet"
    ):
        open_detection_sets(tmp_path)
    with pytest.raises(InputError, match="file or folder not found"):
        open_detection_sets(tmp_path / "nothing")
    (tmp_path / "ava.csv").write_text("v,902,0.1,0.2,0.3,0.4,12,0\n")
    with pytest.raises(InputError, match="AVA's seconds and fractions need the rate"):
        open_detection_sets(tmp_path / "ava.csv")


def test_warnings_of_boxes_over_the_edge_and_of_gaps(data: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (data / "groundtruth.csv").write_text(changed(ROWS, "1,0,11,20", "-1,0,11,20"))
        open_detection_sets(data)
    (data / "groundtruth.csv").write_text(changed(ROWS, "50,10,64,48,0", "50,10,70,48,0"))
    with pytest.warns(
        UserWarning, match=r"row 4: sit/c frame 2: 1 boxes .this is the first. extend"
    ):
        train, _ = open_detection_sets(data)
    assert train.tubes.boxes[2, 2] == 70
    (data / "groundtruth.csv").write_text(changed(ROWS, "run/a,1", "run/a,3"))
    with pytest.warns(UserWarning, match="3 frames apart"):
        open_detection_sets(data)


def test_ucf101_24_as_downloaded(shared: Shared, tmp_path: Path) -> None:
    for name in ("pyannot.pkl", "testlist01.txt"):
        (tmp_path / name).symlink_to(shared(f"ucf101-24/{name}"))
    media = shared("ucf101-24/videos")
    with pytest.raises(InputError, match=r"3186 of 3194 videos"):
        open_detection_sets(tmp_path, media=media)
    names = [path.stem for path in sorted(media.iterdir())]
    names.remove("v_SoccerJuggling_g23_c01")
    options: dict[str, Any] = {"train_videos": ["v_SoccerJuggling_g23_c01"], "test_videos": names}
    for data in (tmp_path, tmp_path / "pyannot.pkl"):
        train, test = open_detection_sets(data, media=media, **options)
        assert train.names == ("SoccerJuggling/v_SoccerJuggling_g23_c01",)
        assert len(train.labels) == 7 and len(test) == 7
        assert [*test.num_frames, *train.num_frames] == [141, 180, 151, 92, 98, 168, 369, 240]
        assert set(test.width) == {320} and set(test.height) == {240}
        truth, _ = read_ground_truth(tmp_path / "pyannot.pkl")
        for name in test.names:
            theirs = truth.boxes[truth.video == truth.video_names.index(name)]
            ours = test.tubes.boxes[test.tubes.video == test.names.index(name)]
            assert ours.tolist() == theirs.tolist()


def test_jhmdb_as_a_pickle(shared: Shared, tmp_path: Path) -> None:
    samples = shared("jhmdb/frames_sample")
    names = sorted(path.name for path in samples.iterdir() if path.is_dir())
    # The sample has the first frame of each video.
    for name, num_frames in zip(names, (37, 40, 30)):
        (tmp_path / name).mkdir()
        frame = samples / name / "00001.png"
        for number in range(1, num_frames + 1):
            (tmp_path / f"{name}/{number:05d}.png").symlink_to(frame)
    train, test = open_detection_sets(
        shared("jhmdb/JHMDB-GT.pkl"), media=tmp_path, train_videos=names[1:], test_videos=names[:1]
    )
    assert train.names == tuple(f"catch/{name}" for name in names[1:]) and test.labels == ("catch",)
    assert len(train.tubes) == train.num_frames.sum() > 60
    with pytest.raises(InputError, match=r"of 928 videos were not found .the first is "):
        open_detection_sets(shared("jhmdb/JHMDB-GT.pkl"), split=3)
    with pytest.raises(
        InputError, match="has no such split; its lists are test1, test2, test3, train1"
    ):
        open_detection_sets(shared("jhmdb/JHMDB-GT.pkl"), split=4)
