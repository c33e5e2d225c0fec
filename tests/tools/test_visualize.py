"""."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.reader import probe, read_video


@pytest.fixture
def tubes(tmp_path: Path) -> Path:
    table = Tubes(
        video=np.zeros(10, np.int32),
        frame=np.arange(10, dtype=np.int32),
        label=np.zeros(10, np.int32),
        boxes=np.tile([8.0, 8.0, 40.0, 40.0], (10, 1)),
        tube=np.zeros(10, np.int64),
        video_names=("clip",),
        label_names=("wave",),
        score=np.full(10, 0.5),
        tube_score=np.full(10, 0.5),
    )
    path = tmp_path / "tubes.csv"
    write_table(table, path)
    return path


def test_draws_and_says_so(numbered, run, tubes: Path, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 20)
    out = tmp_path / "new" / "drawn.mp4"
    done = run("visualize", "--video", video, "--tubes", tubes, "--out", out, "--trail",
               "--ground-truth", tubes)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"20 frames in [\d.]+ s \([\d.]+ frames/s\): {out}\n", done.stdout)
    info = probe(out)
    assert (info.width, info.height, info.num_frames, info.fps) == (256, 192, 20, 25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--video": "absent.mp4"}, "absent.mp4: file not found"),
        ({"--tubes": "absent.csv"}, "absent.csv: file not found"),
        (
            {"--tubes": "two.csv"},
            "the table has no video of this name; it has other, third. Rename",
        ),
        (
            {"--tubes": "parts.csv"},
            "parts.csv: the boxes are fractions of the frame (0 to 1) where",
        ),
        ({"--ground-truth": "ava.csv"}, "AVA's CSV counts seconds, not frames"),
        ({"--ground-truth": "data"}, "clip is 100x90 there, "),
        ({"--out": "drawn.avi"}, "the name of a drawn video must end in .mp4"),
        ({"--out": "clip.mp4"}, "clip.mp4, an input (video); choose another --out"),
        ({"--scale": "0"}, "--scale 0: must be a whole number of 1 or more"),
        ({"--out": None}, "required: out"),
    ],
)
def test_errors_are_one_line(
    numbered, run, tubes: Path, tmp_path: Path, change: dict[str, str | None], message: str
) -> None:
    numbered.write(tmp_path / "clip.mp4", 12)
    header = "video,frame,label,x1,y1,x2,y2,tube\n"
    rows = "other,0,run,1,1,9,9,0\nthird,0,run,1,1,9,9,1\n"
    (tmp_path / "two.csv").write_text(header + rows)
    (tmp_path / "parts.csv").write_text(header + "clip,0,run,0.1,0.2,0.3,0.4,0\n")
    (tmp_path / "ava.csv").write_text("clip,902,0.1,0.2,0.3,0.4,12,0\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/groundtruth.csv").write_text(header + "clip,0,run,1,1,9,9,0\n")
    sizes = "video,num_frames,width,height\nclip,12,100,90\n"
    (tmp_path / "data/videos.csv").write_text(sizes)
    options: dict[str, str | None] = {
        "--video": "clip.mp4", "--tubes": tubes.name, "--out": "drawn.mp4", **change
    }  # fmt: skip
    words: list[object] = ["visualize"]
    for name, value in options.items():
        if value is not None:
            words += [name, value if name == "--scale" else tmp_path / value]
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("actiontubes visualize: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "drawn.mp4").exists()


def test_what_is_said_of_other_sizes_and_names(numbered, run, tubes: Path, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "copy.mp4", 3)  # 64x48
    (tmp_path / "data").mkdir()
    header = "video,frame,label,x1,y1,x2,y2,tube\n"
    rows = "copy,1,run,20,20,80,90,0\nrun/b,2,run,1,1,9,9,1\n"
    (tmp_path / "data/groundtruth.csv").write_text(header + rows)
    sizes = "video,num_frames,width,height\ncopy,3,128,96\nrun/b,9,64,48\n"
    (tmp_path / "data/videos.csv").write_text(sizes)
    done = run("visualize", "--video", video, "--tubes", tubes, "--ground-truth",
               tmp_path / "data", "--out", tmp_path / "drawn.mp4", "--scale", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in (
        "tubes.csv: its only video is clip, drawn into ",
        "groundtruth.csv: ignoring 1 boxes of other videos, such as run/b",
        "groundtruth.csv: copy is 128x96 there, ",
    ):
        assert words in done.stderr


def test_real_video_with_its_ground_truth(run, shared, tmp_path: Path) -> None:
    video = shared("ucf101-24/videos/v_Basketball_g01_c01.avi")
    truth = shared("reference/ucf101-24.groundtruth.parquet")
    out = tmp_path / "drawn.mp4"
    done = run("visualize", "--video", video, "--tubes", truth, "--out", out)
    assert done.returncode == 0, done.stderr
    table = read_table(Tubes, truth)
    rows = table.video == table.video_names.index("Basketball/v_Basketball_g01_c01")
    first = int(table.frame[rows].min())
    x1, y1, _, y2 = 2 * table.boxes[rows][np.argmin(table.frame[rows])]
    drawn = next(read_video(out, first)).astype(int)
    edge = drawn[int(y1 + y2) // 2, int(x1)]
    assert np.abs(edge - (230, 159, 0)).max() < 60
    assert len(list(read_video(out))) == 141
