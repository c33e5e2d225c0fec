"""`actiontubes detect`: what it writes, what it says of bad input, and real clips."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pandas
import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.cache import fetch
from actiontubes.backbones.weights.load import save_pretrained
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.ucf101_24 import read_pyannot
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.tables import Detections, Tracks, Tubes, Videos
from actiontubes.datasets.video.reader import read_video
from actiontubes.detect.boxes.iou import pairwise_iou
from actiontubes.detect.people.person_boxes import FunctionSource
from actiontubes.detect.people.proposals import SOURCES
from actiontubes.detect.visualization import video as drawing
from actiontubes.tools.main import main

TABLES = [
    "actions.csv", "detections.parquet", "labels.csv", "tracks.parquet", "tubes.parquet",
    "videos.parquet",
]  # fmt: skip
Detect = Callable[..., tuple[int, str, list[str]]]


def pretrained(variant: str, labels: tuple[str, ...] = ("clap", "dive", "golf")) -> PretrainedModel:
    torch.manual_seed(0)
    trunk = Trunk(get_variant(variant), width_multiplier=0.125).eval()
    head = Classifier(trunk.out_channels, max(1, len(labels))).eval()
    return PretrainedModel(trunk, head, labels, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_pretrained(pretrained("i3d"), path)
    return path


@pytest.fixture
def detect(weights: Path, tmp_path: Path, capsys, monkeypatch) -> Detect:
    """Runs the command in this process on the whole frame, by default."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object, **options: object) -> tuple[int, str, list[str]]:
        options = {"weights": weights, "proposals": "frame", "out": "out", **options}
        given = [str(word) for word in words]
        for name, value in options.items():
            given += [f"--{name}", str(value)]
        code = main(["detect", *given])
        out, err = capsys.readouterr()
        lines = [line for line in err.replace("\r", "\n").splitlines() if line.strip()]
        return code, out, [line for line in lines if "frames/s]" not in line]

    return call


def files(folder: Path) -> list[str]:
    """All files below a folder, hidden and temporary ones too, but for whole results of videos."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    found.discard(Path("videos/.joined.json"))  # which results the tables hold
    if Path(TABLES[0]) in found:  # the page is of these tables
        found.remove(Path("index.html"))
    for record in [path for path in found if path.name == "record.json"]:
        assert record.parts[0] == "videos" and len(record.parts) == 3
        assert {record.with_name(name) for name in TABLES} <= found
        found -= {record.with_name(name) for name in [*TABLES, "record.json", "drawn.json"]}
    return sorted(map(str, found))


def test_writes_tables_and_drawn_videos(numbered, detect: Detect, tmp_path: Path) -> None:
    numbered.write(tmp_path / "a.mp4", 20)
    numbered.write(tmp_path / "b.avi", 10, codec="mpeg4")
    code, out, err = detect("a.mp4", "b.avi", "--trail", "--labels", "dive", "clap", out="new/out")
    assert (code, err) == (0, [])
    folder = tmp_path / "new" / "out"
    assert files(folder) == sorted([*TABLES, "a.tubes.mp4", "b.tubes.mp4"])
    lines = out.splitlines()
    assert lines[0] == "a: 1 person, 1 action, 20 frames"
    assert lines[2] == "b: 1 person, 1 action, 10 frames"
    assert "frames 0-19" in lines[1] and "golf" not in out
    actions = pandas.read_csv(folder / "actions.csv")
    columns = ["video", "person", "label", "start", "end", "first_frame", "last_frame", "score"]
    assert list(actions) == columns and actions["video"].tolist() == ["a", "b"]
    assert actions["end"].tolist() == pytest.approx([20 / 25, 10 / 25])
    for action in actions.to_dict("records"):
        assert f"  {action['score']:.2f}  person 1   {action['label']}  0.00-" in out
    assert lines[-1].startswith("30 frames in ") and lines[-1].endswith("frames/s): new/out")
    tubes = read_table(Tubes, folder / "tubes.parquet")
    assert tubes.video_names == ("a", "b")
    assert set(tubes.label_names) <= {"dive", "clap"}
    tracks = read_table(Tracks, folder / "tracks.parquet")
    assert tracks.frame.tolist() == [*range(20), *range(10)] and set(tracks.person) == {1}
    detections = read_table(Detections, folder / "detections.parquet")
    assert detections.label_names == ("clap", "dive") and len(detections) == 2 * 30
    videos = read_table(Videos, folder / "videos.parquet")
    assert videos.video == ("a", "b") and videos.num_frames.tolist() == [20, 10]
    for name, count in (("a", 20), ("b", 10)):
        drawn = list(read_video(folder / f"{name}.tubes.mp4"))
        assert len(drawn) == count and drawn[0].shape == (192, 256, 3)
        # Tubes that overlap are people who do, and all are drawn.
        drawn_with = json.loads((folder / "videos" / name / "drawn.json").read_text())
        assert drawn_with == {"one_label": False, "trail": True}


def test_tables_only(numbered, detect: Detect, tmp_path: Path) -> None:
    """And drawn by a later run, which does not look at the video again."""
    numbered.write(tmp_path / "a.mp4", 5)
    assert detect("a.mp4", "--tables-only")[0] == 0
    assert files(tmp_path / "out") == TABLES
    code, out, err = detect("a.mp4")
    assert (code, err) == (0, [])
    assert out.splitlines() == [
        "1 of 1 videos already have results (use --overwrite to redo them)",
        "5 frames in all: out (the tables are unchanged)",
    ]
    assert files(tmp_path / "out") == sorted([*TABLES, "a.tubes.mp4"])


def test_nobody_in_sight(numbered, detect: Detect, tmp_path: Path, monkeypatch) -> None:
    """Empty tables, and a copy in which nothing is drawn."""
    nobody = FunctionSource(lambda frames, first_frame: [np.empty((0, 4))] * len(frames))
    monkeypatch.setitem(SOURCES, "nobody", lambda name, **_: nobody)
    numbered.write(tmp_path / "a.mp4", 10)
    code, out, err = detect("a.mp4", proposals="nobody")
    assert (code, err) == (0, []) and out.startswith(
        "a: 0 people, 0 actions, 10 frames (no people found)\n"
    )
    assert files(tmp_path / "out") == sorted([*TABLES, "a.tubes.mp4"])
    for kind, name in ((Tubes, "tubes"), (Detections, "detections")):
        assert len(read_table(kind, tmp_path / "out" / f"{name}.parquet")) == 0
    copy = np.stack(list(read_video(tmp_path / "out" / "a.tubes.mp4")))
    original = np.stack(
        [cv2.resize(frame, (256, 192), interpolation=cv2.INTER_CUBIC)
         for frame in read_video(tmp_path / "a.mp4")]
    )  # fmt: skip
    assert len(copy) == 10
    assert np.abs(copy.astype(int) - original).mean() < 4


def cut_short(numbered, path: Path) -> Path:
    numbered.write(path, 60, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        samples.sample_rate = 16000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
def test_bad_videos_among_good_ones(numbered, run, weights: Path, tmp_path: Path) -> None:
    """As a user runs it: each bad one has its line, the others are done, the end says which."""
    numbered.write(tmp_path / "good.mp4", 12)
    numbered.write(tmp_path / "one.mp4", 1)
    numbered.write(tmp_path / "small.mp4", 3, size=(4, 4))
    cut_short(numbered, tmp_path / "cut.mp4")
    sound(tmp_path / "sound.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("Once upon a time there was a video.\n" * 20)
    (tmp_path / "folder.mp4").mkdir()
    bad = {
        "absent": "file not found",
        "empty": "is empty",
        "text": "it may be damaged or not a video",
        "sound": "contains no video, only other streams",
        "folder": "contains no video file",
    }
    order = ["absent", "good", "empty", "text", "one", "sound", "small", "folder", "cut"]
    videos = [tmp_path / f"{name}.mp4" for name in order]
    out = tmp_path / "out"
    done = run("detect", *videos, "--weights", weights, "--proposals", "frame", "--out", out)
    assert done.returncode == 2
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if "/s]" not in line]
    lines = [line for line in lines if line.strip()]
    failed = [tmp_path / f"{name}.mp4" for name in order if name in bad]
    for line, path in zip(lines, failed):
        assert line.startswith(f"actiontubes detect: {path}: ")
        assert bad[path.stem] in line
    warning, end = lines[len(failed) :]
    assert warning.startswith(f"warning: {tmp_path / 'cut.mp4'}: is damaged or incomplete")
    assert end == f"actiontubes detect: 5 of 9 videos failed: {', '.join(map(str, failed))}"
    assert "Traceback" not in done.stderr
    good = ["good", "one", "small", "cut"]
    assert files(out) == sorted([*TABLES, *(f"{name}.tubes.mp4" for name in good)])
    videos_found = read_table(Videos, out / "videos.parquet")
    lengths = dict(zip(videos_found.video, videos_found.num_frames.tolist()))
    assert list(lengths) == good
    assert (lengths["good"], lengths["one"], lengths["small"]) == (12, 1, 3)
    assert 10 < lengths["cut"] < 60
    tubes = read_table(Tubes, out / "tubes.parquet")
    assert tubes.video_names == tuple(sorted(good))
    for name, length in lengths.items():
        rows = tubes.video == tubes.video_names.index(name)
        assert len(np.unique(tubes.frame[rows])) == length
        assert sum(1 for _ in read_video(out / f"{name}.tubes.mp4")) == length


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "s4d"}, "--backbone s4d: unknown network; choose from i2d, i3d"),
        ({"weights": "absent.pth"}, "absent.pth: no such file; for i3d give"),
        ({"weights": "kinetics401"}, "kinetics401: no such file; for i3d give"),
        ({"weights": "."}, ".: Is a directory"),
        ({"weights": "other.safetensors"}, "other.safetensors: weights of s3d, not of i3d"),
        (
            {"weights": "nameless.safetensors"},
            "have no class names, so people cannot be given labels; use kinetics400",
        ),
        ({"weights": "text.safetensors"}, "text.safetensors: was not written by this project"),
        ({"weights": "text.pth"}, "text.pth: cannot be read as a PyTorch file"),
        ({"weights": "attack.pth"}, "attack.pth: refused for safety: it would import "),
        ({"weights": "attack.ckpt"}, "attack.ckpt: refused for safety (it would import "),
        ({"proposals": "absent.onnx"}, "absent.onnx: file not found"),
        ({"proposals": "absent.csv"}, "absent.csv: file or folder not found"),
        ({"proposals": "yolo"}, "--proposals yolo: unknown; use default, pedestrian-ssdlite, "),
        ({"labels": "div"}, "--labels div: unknown class; similar ones are dive"),
        ({"labels": "jhmdb"}, "needs weights trained on Kinetics-400"),
        ({"scene-weight": "1.5"}, "--scene-weight 1.5: must be between 0 and 1"),
        ({"out": "text.pth"}, "text.pth: is a file; choose another --out"),
        ({"config": "misspelt.yaml"}, "'theshold' is not accepted"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    numbered, detect: Detect, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    numbered.write(tmp_path / "a.mp4", 3)
    proof = tmp_path / "executed"
    torch.save({"weights": Attack(proof)}, tmp_path / "attack.pth")
    (tmp_path / "attack.ckpt").write_bytes(pickle.dumps({"weights": Attack(proof)}))
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("Once upon a time there were weights.\n")
    save_pretrained(pretrained("s3d"), tmp_path / "other.safetensors")
    save_pretrained(pretrained("i3d", ()), tmp_path / "nameless.safetensors")
    (tmp_path / "misspelt.yaml").write_text("theshold: 0.1\n")
    code, out, err = detect("a.mp4", **options)
    assert (code, out) == (2, "")
    assert len(err) == 1 and err[0].startswith("actiontubes detect: ") and message in err[0]
    assert not proof.exists()
    assert not (tmp_path / "out").exists()


def test_what_can_be_named(weights: Path, capsys, monkeypatch, tmp_path: Path) -> None:
    """Without a video, weights or a download; a word proposes the labels that contain it."""
    monkeypatch.setenv("ACTIONTUBES_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert main(["detect", "--list-labels"]) == 0
    labels = capsys.readouterr().out.splitlines()
    assert len(labels) == 400 and labels[0] == "abseiling" and "shooting basketball" in labels
    assert main(["detect", "--list-labels", "--labels", "jhmdb"]) == 0
    assert "shoot_ball" in capsys.readouterr().out.splitlines()
    (tmp_path / "a.mp4").touch()
    assert main(["detect", "a.mp4", "--labels", "shooting"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert (
        "--labels shooting: unknown class; similar ones are shooting basketball, "
        "shooting goal (soccer)" in err
    )
    assert main(["detect", "absent.mp4"]) == 2
    assert "absent.mp4: file not found" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_conf_is_threshold(numbered, detect: Detect, tmp_path: Path) -> None:
    numbered.write(tmp_path / "a.mp4", 6)
    counts = {}
    for option in ("conf", "threshold"):
        for value in (0, 1):
            out = f"{option}{value}"
            assert detect("a.mp4", "--tables-only", out=out, **{option: value})[0] == 0
            counts[option, value] = len(pandas.read_csv(tmp_path / out / "actions.csv"))
    assert counts == {("conf", 0): 1, ("conf", 1): 0, ("threshold", 0): 1, ("threshold", 1): 0}


class Attack:
    """Unpickled by an ordinary unpickler, it makes a folder."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


def test_the_attack_would_work(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Attack(tmp_path / "executed")))
    assert (tmp_path / "executed").is_dir()


def test_a_damaged_cache_file(numbered, detect: Detect, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ACTIONTUBES_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    damaged = tmp_path / "cache" / "i3d-kinetics-400.ckpt"
    damaged.write_bytes(b"\x80\x04 not what it was")
    numbered.write(tmp_path / "a.mp4", 3)
    code, out, err = detect("a.mp4", weights="kinetics400")
    assert (code, out, len(err)) == (2, "", 1)
    assert f"{damaged}: is damaged" in err[0] and "run the command again" in err[0]
    assert files(tmp_path / "cache") == [damaged.name]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(numbered, detect: Detect, tmp_path: Path) -> None:
    numbered.write(tmp_path / "a.mp4", 3)
    code, _, err = detect("a.mp4", device="cuda")
    assert code == 2
    assert err == [
        "actiontubes detect: --device cuda: PyTorch finds no GPU on this machine; use --device cpu"
    ]


@pytest.mark.slow
def test_videos_of_one_name(numbered, detect: Detect, tmp_path: Path) -> None:
    for folder in ("x/clips", "y/clips", "y"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        numbered.write(tmp_path / folder / "a.mp4", 4)
    numbered.write(tmp_path / "b.mp4", 6)
    code, _, err = detect("x/clips/a.mp4", "y/../y/clips/a.mp4", "y/a.mp4", "b.mp4")
    assert (code, err) == (0, [])
    names = ["x/clips/a.mp4", "y/clips/a.mp4", "y/a.mp4", "b"]
    assert files(tmp_path / "out") == sorted([*TABLES, *(f"{name}.tubes.mp4" for name in names)])
    assert read_table(Videos, tmp_path / "out" / "videos.parquet").video == tuple(names)
    tubes = read_table(Tubes, tmp_path / "out" / "tubes.parquet")
    counts = {
        name: len(np.unique(tubes.frame[tubes.video == i]))
        for i, name in enumerate(tubes.video_names)
    }
    assert counts == dict(zip(names, (4, 4, 4, 6)))
    code, _, err = detect("b.mp4", "./y/../b.mp4")
    assert code == 2 and err == ["actiontubes detect: b.mp4: is given twice; give each video once"]


def test_boxes_from_a_table(numbered, detect: Detect, tmp_path: Path) -> None:
    numbered.write(tmp_path / "a.mp4", 20)
    numbered.write(tmp_path / "b.mp4", 20)
    boxes = Detections(
        video=np.zeros(20, np.int32),
        frame=np.arange(20, dtype=np.int32),
        label=np.zeros(20, np.int32),
        score=np.full(20, 0.9),
        boxes=np.tile([10.0, 10, 30, 40], (20, 1)),
        video_names=("somewhere/a",),
        label_names=("person",),
    )
    write_table(boxes, tmp_path / "people.csv")
    code, out, err = detect("b.mp4", "a.mp4", "--tables-only", proposals="people.csv")
    assert code == 2 and out.startswith("a: 1 person, 1 action, 20 frames")
    assert err == [
        "actiontubes detect: people.csv: contains no video of the name of b.mp4; it has "
        "somewhere/a",
        "actiontubes detect: 1 of 2 videos failed: b.mp4",
    ]
    tubes = read_table(Tubes, tmp_path / "out" / "tubes.parquet")
    np.testing.assert_allclose(tubes.boxes, np.tile([8.5, 7.75, 31.5, 42.25], (20, 1)), atol=1e-4)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written(
    numbered, detect: Detect, tmp_path: Path, monkeypatch, error: BaseException
) -> None:
    numbered.write(tmp_path / "a.mp4", 12)
    numbered.write(tmp_path / "b.mp4", 9)
    draw, drawn = drawing.draw_frame, []

    def fails(*args, **options) -> np.ndarray:
        drawn.append(1)
        if len(drawn) == 6:
            raise error
        return draw(*args, **options)

    monkeypatch.setattr(drawing, "draw_frame", fails)
    code, _, err = detect("a.mp4", "b.mp4")
    if isinstance(error, KeyboardInterrupt):
        assert (code, err, files(tmp_path / "out")) == (130, ["actiontubes: stopped by Ctrl-C"], [])
    else:
        assert code == 2 and "No space left on device" in err[0]
        assert err[1] == "actiontubes detect: 1 of 2 videos failed: a.mp4"
        assert files(tmp_path / "out") == sorted([*TABLES, "b.tubes.mp4"])


# The classes that the I3D weights give to the real clips' actions, of data/README.md.
ACTIONS = {
    "v_Basketball_g01_c01.avi": {"shooting basketball"},
    "v_Basketball_g01_c02.mp4": {"shooting basketball"},
    "v_Biking_g01_c01.mp4": {"riding a bike", "riding mountain bike"},
    "v_CliffDiving_g03_c01.mp4": {"diving cliff"},
    "v_HorseRiding_g01_c03.mp4": {"riding or walking with horse"},
    "v_SalsaSpin_g03_c01.mp4": {"salsa dancing"},
    "v_SkateBoarding_g02_c01.mp4": {"skateboarding"},
    "v_SoccerJuggling_g23_c01.avi": {"juggling soccer ball"},
}
SHORT = ("v_CliffDiving_g03_c01.mp4", "v_HorseRiding_g01_c03.mp4", "v_SalsaSpin_g03_c01.mp4")


def space_time_iou(frames: np.ndarray, boxes: np.ndarray, other: dict[int, np.ndarray]) -> float:
    """Mean IoU of the boxes in common frames, times the IoU of the spans."""
    common = [frame for frame in frames.tolist() if frame in other]
    if not common:
        return 0.0
    own = dict(zip(frames.tolist(), boxes))
    spatial = [pairwise_iou(own[frame][None], other[frame][None])[0, 0] for frame in common]
    return float(np.mean(spatial)) * len(common) / len(set(own) | set(other))


@pytest.mark.slow
@pytest.mark.parametrize("proposals", ["person_detectors/person_yolox_192.onnx", None])
def test_real_clips(run, shared, tmp_path: Path, proposals: str | None) -> None:
    """The main job: who does what, where and when, by one command.

    On the three shortest of the eight clips; on all of them with ACTIONTUBES_LONG=1, and then also
    by the default person detector.
    """
    every = bool(os.environ.get("ACTIONTUBES_LONG"))
    if proposals is None and not every:
        pytest.skip("with ACTIONTUBES_LONG=1 only")
    videos = [shared(f"ucf101-24/videos/{name}") for name in (ACTIONS if every else SHORT)]
    detector = ["--proposals", shared(proposals)] if proposals else []
    pyannot = shared("ucf101-24/pyannot.pkl")
    try:
        fetch("i3d-kinetics400")
    except InputError as error:
        pytest.skip(str(error))
    out = tmp_path / "out"
    done = run("detect", *videos, "--backbone", "i3d", "--weights", "kinetics400",
               *detector, "--tables-only", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    tubes = read_table(Tubes, out / "tubes.parquet")
    info = read_table(Videos, out / "videos.parquet")
    names = [f"{video.stem.split('_')[1]}/{video.stem}" for video in videos]
    truth = read_pyannot(pyannot).tubes
    assert tubes.tube_score is not None
    right: dict[str, bool] = {}
    overlaps: dict[str, float] = {}
    for number, (video, name) in enumerate(zip(videos, names)):
        assert info.video[number] == video.stem
        own = np.flatnonzero(np.array(tubes.video_names)[tubes.video] == video.stem)
        right[video.stem], overlaps[video.stem] = False, 0.0
        if not len(own):
            continue
        best = tubes.tube[own[np.argmax(tubes.tube_score[own])]]
        rows = np.flatnonzero(tubes.tube == best)
        right[video.stem] = tubes.label_names[tubes.label[rows[0]]] in ACTIONS[video.name]
        # Ground truth is for 320x240; some of these files are larger.
        scale = np.tile([info.width[number] / 320, info.height[number] / 240], 2)
        actors = np.unique(truth.tube[truth.video == truth.video_names.index(name)])
        overlaps[video.stem] = max(
            space_time_iou(
                tubes.frame[rows],
                tubes.boxes[rows],
                dict(zip(truth.frame[there].tolist(), truth.boxes[there] * scale)),
            )
            for there in (truth.tube == actor for actor in actors)
        )
    assert sum(right.values()) >= ((8 if proposals else 7) if every else 3), right
    if proposals is None:
        return  # where torchvision's weights cannot be downloaded, it misses the diver
    # The diver is lost in the dive: 18 frames without a box.
    assert sum(overlap >= 0.3 for overlap in overlaps.values()) >= (5 if every else 2), overlaps


@pytest.mark.slow
def test_two_clips_joined_by_a_cut(run, shared, tmp_path: Path) -> None:
    """Without training each clip has its action on its side, and nobody is on both."""
    videos = [shared(f"ucf101-24/videos/{name}") for name in (SHORT[2], SHORT[1])]
    detector = shared("person_detectors/person_yolox_192.onnx")
    try:
        fetch("i3d-kinetics400")
    except InputError as error:
        pytest.skip(str(error))
    with av.open(str(tmp_path / "joined.mp4"), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for video in videos:
            for frame in read_video(video):
                small = cv2.resize(frame, (320, 240))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(small)))
        container.mux(stream.encode(None))
    done = run("detect", tmp_path / "joined.mp4", "--proposals", detector, "--tables-only",
               "--out", tmp_path / "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    actions = pandas.read_csv(tmp_path / "out" / "actions.csv")
    cut = 168 / 25
    for label, start, end in (("salsa dancing", 0, cut), ("riding or walking with horse", cut, 99)):
        own = actions[actions["label"] == label]
        assert len(own) and own["start"].min() >= start - 0.5 and own["end"].max() <= end + 0.5
    tracks = read_table(Tracks, tmp_path / "out" / "tracks.parquet")
    before = set(tracks.person[tracks.frame < 168].tolist())
    assert not before & set(tracks.person[tracks.frame >= 168].tolist())
