"""`actiontubes train`: options, splits, resuming, and every bad input in one line."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import save_pretrained
from actiontubes.datasets.clips.options import (
    Augmentation,
    ClipConfig,
    ClipSampling,
    DetectionData,
)
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections
from actiontubes.detect.model import pretrained
from actiontubes.detect.model.config import DetectorConfig, InitialWeights
from actiontubes.detect.training import detector as training
from actiontubes.detect.training.options import RoiTraining, RunOptions, Schedule
from actiontubes.tools.arguments import options_of, parse_arguments
from actiontubes.tools.train import train as train_function

ROWS = """video,frame,label,x1,y1,x2,y2,tube
a,2,run,5,5,30,40,0
a,3,run,6,5,31,40,0
b,7,sit,20,10,50,46,0
c,1,run,10,10,40,45,0
c,2,sit,30,4,60,47,1
"""
VIDEOS = """video,num_frames,width,height,split
a,12,64,48,train
b,12,64,48,train
c,12,64,48,test
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory, numbered) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name in "abc":
        numbered.write(folder / f"{name}.mp4", 12)
    return folder


@pytest.fixture
def data(clips: Path, tmp_path: Path) -> Path:
    """Three videos of 12 frames, 64x48, two to train on."""
    folder = tmp_path / "data"
    shutil.copytree(clips, folder)
    (folder / "groundtruth.csv").write_text(ROWS)
    (folder / "videos.csv").write_text(VIDEOS)
    return folder


@pytest.fixture
def train(command, recipe: Path, data: Path, tmp_path: Path, monkeypatch) -> Callable:
    """Runs the smallest recipe on the data into the folder "out"."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object):
        return command("train", "--config", recipe, "--data", "data", "--out", "out", *words)

    return run


def losses(folder: Path) -> list[list[str]]:
    """Step, learning rate and losses; not the seconds."""
    with (folder / "losses.csv").open() as file:
        return [row[:-2] for row in csv.reader(file)]


def test_what_it_writes_and_says(train: Callable, tmp_path: Path) -> None:
    done = train("--steps", 4, "--evaluate-every", 3)
    assert done.code == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "confusion.png", "curves.png", "detections.parquet", "detector.safetensors",
        "evaluations.csv", "last.safetensors", "losses.csv", "precision_recall.png",
        "results.json", "state.pt", "test_frames.jpg", "tubes.parquet",
    ]  # fmt: skip
    (head, *rows) = losses(out)
    assert head == ["step", "lr", "objectness", "proposal_boxes", "action", "action_boxes"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    with (out / "evaluations.csv").open() as file:
        evaluations = list(csv.DictReader(file))
    assert [row["step"] for row in evaluations] == ["3", "4"]
    score = json.loads((out / "results.json").read_text())["frame_map"]["0.5"]
    assert f"out: frame-mAP@0.5 {score:.2f}, video-mAP@0.5 " in done.out
    assert done.out.endswith("\nactiontubes detect VIDEO --checkpoint out/detector.safetensors\n")


def test_a_run_is_neither_lost_nor_mixed(train: Callable, tmp_path: Path) -> None:
    assert train("--steps", 6).code == 0
    whole = losses(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    # The schedule is that of six steps; of the first run, only three are on disk.
    assert train("--steps", 6, "--save-every", 3).code == 0
    state = (tmp_path / "out" / "state.pt").read_bytes()
    refused = train("--steps", 6)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == [
        "actiontubes train: out/state.pt: this folder already contains a training run; "
        "continue it with --resume, or choose another --out"
    ]
    other = train("--steps", 6, "--resume", "--hidden", 8)
    assert other.code == 2 and len(other.err) == 1
    assert (
        "out/state.pt: of this run --hidden was 16 and is 8 now; resume with the same"
        in other.err[0]
    )
    labels = train("--steps", 6, "--resume", "--labels", "sit", "run", "lie")
    assert labels.code == 2 and len(labels.err) == 1
    assert "--labels was ['run', 'sit'] and is ['sit', 'run', 'lie'] now" in labels.err[0]
    assert (tmp_path / "out" / "state.pt").read_bytes() == state
    finished = train("--steps", 6, "--resume")
    assert finished.code == 0 and "frame-mAP@0.5" in finished.out
    assert losses(tmp_path / "out") == whole


def test_splits_and_their_mean(train: Callable, data: Path, tmp_path: Path) -> None:
    (data / "splits").mkdir()
    for k, test in enumerate("abc", 1):
        (data / f"splits/test{k}.txt").write_text(f"{test}\n")
        (data / f"splits/train{k}.txt").write_text("".join(f"{v}\n" for v in "abc" if v != test))
    done = train("--splits", 1, 3)
    assert done.code == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["split1", "split3"]
    results = [json.loads((out / f"split{k}/results.json").read_text()) for k in (1, 3)]
    first, last = (result["frame_map"]["0.5"] for result in results)
    mean = f"out: frame-mAP@0.5 {(first + last) / 2:.2f} ({first:.2f}, {last:.2f}), video-mAP"
    assert mean in done.out
    assert losses(out / "split1") != losses(out / "split3")
    # A later split that cannot be, or has been, is told before the first is trained.
    shutil.rmtree(out / "split1")
    done = train("--splits", 1, 3)
    assert (
        done.code == 2
        and "out/split3/state.pt: this folder already contains a training run" in done.err[0]
    )
    done = train("--splits", 1, 4)
    assert done.code == 2 and "has no such split; its lists are test1" in done.err[0]
    assert not (out / "split1").exists()


OPTIONS: dict[str, tuple[object, ...]] = {
    "backbone": ("s3d",), "width": (0.125,), "endpoint": ("Mixed_4b",), "freeze": ("Mixed_3b",),
    "norm": ("frozen",), "weights": ("w.pth",), "proposals": ("resnet18",),
    "resnet_weights": ("r.pth",), "proposal_endpoint": ("Mixed_4c",), "proposal_count": (33,),
    "anchor_sides": (7, 9), "anchor_ratios": (0.3, 3.0), "head": ("mixed",), "hidden": (17,),
    "head_channels": (18,),
    "box_endpoint": ("Conv2d_2c_3x3",), "box_roi_size": (31,), "vote_iou": (0.6875,),
    "roi_size": (5,), "dropout": (0.25,), "frames": (6,), "frame_step": (3,), "size": (96, 112),
    "key_frames": (2,), "key_frame_step": (5,), "margin": (19,), "flip": (0.125,),
    "scale": (0.9, 1.1), "color": (0.375,), "background": (0.625,), "rois_per_frame": (12,),
    "jitter": (18,), "workers": (1,),
    "steps": (11,), "batch": (3,), "accumulate": (2,), "optimizer": ("adamw",), "lr": (0.02,),
    "warmup": (13,), "decay": ("cosine",), "weight_decay": (0.002,), "clip_norm": (4.0,),
    "ema": (0.75,), "save_every": (14,), "evaluate_every": (15,), "seed": (16,),
    "patience": (22,), "label_attribute": ("action",),
    "box_weight": (1.5,), "proposal_box_weight": (2.5,), "streams": ("both",),
    "flow_method": ("dis",), "flow_weights": ("f.pth",),
    "labels": ("sit", "run"), "splits": (1,), "train_videos": ("a",), "test_videos": ("b",),
    "first_frame": (0,), "boxes": ("pixel",), "cache_features": ("folder",), "feature_views": (21,),
    "cache_features_limit": (0.5,), "calibration_videos": (22,), "calibration_folds": (23,),
    "proposal_channels": (24,),
}  # fmt: skip
FLAGS = ("per_class_boxes", "mixed_per_box", "no_balance", "cache", "compile",
         "train_on_calibration_videos")  # fmt: skip


@pytest.mark.parametrize("scoring", ["multi_label", "separate_background"])
def test_every_option_arrives(train: Callable, tmp_path: Path, monkeypatch, scoring: str) -> None:
    """Each at a value that no other has."""
    asked: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def new_detector(config: DetectorConfig, **options: Any) -> None:
        asked.update(vars(config), **options)

    def train_and_evaluate(
        detector: None, train_set: Any, test_set: Any, folder: Path, *, proposals: str,
        calibration_videos: int, calibration_folds: int, train_on_calibration_videos: bool,
        **groups: Any,
    ) -> None:  # fmt: skip
        of_groups = {k: v for group in groups.values() for k, v in vars(group).items()}
        # A clip's shape is the detector's.
        asked.update({**of_groups, **asked, "key_frame_step": groups["clips"].key_frame_step})
        asked.update(proposals=proposals, calibration_videos=calibration_videos)
        asked.update(calibration_folds=calibration_folds)
        asked.update(train_on_calibration_videos=train_on_calibration_videos)
        asked.update(train=train_set.names, test=test_set.names)
        raise Stop

    monkeypatch.setattr(pretrained, "new_detector", new_detector)
    monkeypatch.setattr(training, "train_and_evaluate", train_and_evaluate)
    words = [f"--{name.replace('_', '-')}" for name in (scoring, *FLAGS)]
    for name, values in OPTIONS.items():
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    with pytest.raises(Stop):
        train(*words)
    alone = {
        name: value[0] if len(value) == 1 else value
        for name, value in OPTIONS.items()
        if name not in ("size", "splits", "train_videos", "test_videos")
    }
    expected = alone | {
        "separate_background": scoring == "separate_background", "multi_label": scoring ==
        "multi_label", "per_class_boxes": True, "mixed_per_box": True, "balance": False,
        "cache": True, "compile": True, "train_on_calibration_videos": True, "size": (96, 112),
        "crop": True, "resume": False,
        "train": ("a",), "test": ("b",),
    }  # fmt: skip
    expected["width_multiplier"] = expected.pop("width")
    expected["box_unit"] = expected.pop("boxes")
    assert {name: value for name, value in asked.items() if name in expected} == expected
    others = {"mean", "std", "precision", "trackers", "device", "classes", "person_class"}
    assert set(asked) - others == set(expected)


def test_defaults_are_those_of_the_library() -> None:
    """And the paper's, where it has some."""
    options = parse_arguments(train_function, "train", ["--data", "figures"])
    assert options["data"] == DetectionData(data=Path("figures"))
    assert options["config"] == DetectorConfig() and options["schedule"] == Schedule()
    assert options["clips"] == ClipConfig() and options["augmentation"] == Augmentation()
    assert options["sampling"] == ClipSampling() and options["rois"] == RoiTraining()
    assert options["initial"] == InitialWeights() and options["run"] == RunOptions()


def test_help_suffices(command, capsys) -> None:
    with pytest.raises(SystemExit):
        command("train", "--help")
    text = capsys.readouterr().out
    flat = " ".join(text.split())
    for name in ("demo", "jhmdb", "ucf101-24", "ucf101-24-mini", "custom"):
        assert name in flat
    options = list(options_of(train_function))
    assert len(options) > 60
    for option in (f"--{each.key.replace('_', '-')}" for each in options):
        said = re.search(rf"^  {option}( [^ ].*?)?(  .*)?\n((?:   .*\n)*)", text, re.MULTILINE)
        assert said, option
        explained = f"{said[2] or ''} {said[3]}".partition("(required")[0].partition("(default:")[0]
        assert len(explained.split()) > 1, option


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--config misspelt.yaml", "'stepz' is not accepted (see `actiontubes train --help`)"),
        ("--config broken.yaml", "broken.yaml"),
        ("--config absent", "absent"),
        ("--config word.yaml", "in a YAML file, write several values as a list: [a, b]"),
        ("--data absent", "absent: file or folder not found"),
        ("--media absent", "--media absent: folder not found"),
        ("--labels run lie", "row 3: b frame 7 (and 1 more row): class sit is not"),
        ("--labels run sit run", "run is given twice"),
        ("--splits 2", "groundtruth.csv has no such split; its lists are test1, train1"),
        ("--train-videos x", "video x is not in data/groundtruth.csv; names look like a"),
        ("--backbone s4d", "--backbone s4d: unknown network; choose from i2d"),
        ("--weights kin", "--weights kin: no such file; for i2d give"),
        ("--norm frozen", "--norm frozen: needs pretrained weights"),
        ("--freeze Mixed_9", "--freeze: this trunk has no layer Mixed_9; choose from Conv2d"),
        ("--freeze Mixed_4b", "--freeze: this trunk has no layer Mixed_4b; choose from"),
        ("--endpoint Mixed_9", "--endpoint Mixed_9: i2d has no such layer; choose from"),
        ("--proposal-endpoint Mixed_9", "--proposal-endpoint Mixed_9: i2d has no such layer"),
        ("--size 50 64", "must be multiples of 8, the stride of Mixed_3c"),
        ("--size 48", "--size: needs 2 numbers, not 1"),
        ("--size 0 64", "--size 0 64: every number must be 1 or more"),
        ("--head mixed --endpoint Mixed_5c --size 64 64", "no layers are left after Mixed_5c"),
        ("--proposals yolo", "--proposals yolo: unknown"),
        ("--proposals absent.csv", "absent.csv: file or folder not found"),
        ("--proposals people.csv", "people.csv: contains no video of the name of b; it has a"),
        ("--proposals resnet18 --resnet-weights absent.pth", "absent.pth: No such file"),
        ("--proposals resnet18 --resnet-weights text.pth", "text.pth: cannot be read as a PyTorch"),
        ("--trackers nothing", "--trackers nothing: is not installed; installed are tensorboard"),
        ("--scale 2 1", "--scale 2.0 1.0: give the smallest and the largest zoom"),
        ("--anchor-sides 0", "--anchor-sides 0: every number must be greater than 0"),
        ("--width 0", "--width 0.0: must be greater than 0"),
        ("--width 0.5 --weights narrow.safetensors", "--weights narrow.safetensors: has width"),
        *((f"--{name} 0", f"--{name} 0: must be 1 or more") for name in (
            "proposal-count", "hidden", "roi-size", "frames", "frame-step", "key-frames",
            "key-frame-step", "rois-per-frame", "steps", "batch", "accumulate", "save-every")),
        *((f"--{name} -1", f"--{name} -1") for name in (
            "workers", "jitter", "margin", "warmup", "evaluate-every", "weight-decay", "seed",
            "ema", "lr", "dropout", "flip", "color", "background", "clip-norm")),
    ],
)  # fmt: skip
def test_bad_options_are_told_before_any_work(
    train: Callable, data: Path, tmp_path: Path, words: str, message: str
) -> None:
    (tmp_path / "misspelt.yaml").write_text("stepz: 3\n")
    (tmp_path / "broken.yaml").write_text("steps: [3\n")
    (tmp_path / "word.yaml").write_text("labels: run\n")
    (tmp_path / "text.pth").write_text("Once upon a time there were weights.\n")
    trunk = Trunk(get_variant("i2d"), width_multiplier=0.0625)
    model = PretrainedModel(trunk, None, (), (0.5,) * 3, (0.5,) * 3)
    save_pretrained(model, tmp_path / "narrow.safetensors")
    (tmp_path / "people.csv").write_text(
        "video,frame,label,score,x1,y1,x2,y2\na,1,person,1,0,0,9,9\n"
    )
    code, out, err = train(*words.split())
    assert (code, out, len(err)) == (2, "", 1), err
    assert err[0].startswith("actiontubes train: ") and message in err[0]
    assert not (tmp_path / "out").exists()


def replaced(data: Path, file: str, old: str, new: str) -> None:
    text = (data / file).read_text()
    assert old in text
    (data / file).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: (data / "b.mp4").unlink(),
         "data: 1 of 3 videos were not found (the first is b); give their folder"),
        (lambda data: (data / "groundtruth.csv").unlink(), "data: contains no ground truth"),
        (lambda data: replaced(data, "groundtruth.csv", "20,10,50,46", "70,10,90,46"),
         "groundtruth.csv: row 3: b frame 7: the box is outside the frame of 64x48"),
        (lambda data: replaced(data, "groundtruth.csv", "b,7", "b,12"),
         "groundtruth.csv: video b, frame 12: the video ends before this frame"),
        (lambda data: replaced(data, "groundtruth.csv", "20,10,50,46", "50,46,20,10"),
         "groundtruth.csv: row 3: x2 < x1"),
        (lambda data: replaced(data, "groundtruth.csv", "x1,y1,x2,y2", "x,y,w,h"),
         "groundtruth.csv: column x1"),
        (lambda data: (data / "groundtruth.csv").write_text(ROWS.splitlines()[0] + "\n"),
         "groundtruth.csv: has no boxes for any of the 2 training videos"),
        (lambda data: replaced(data, "videos.csv", "c,12,64,48,test", "c,12,64,48,train"),
         "defines no test videos"),
        (lambda data: (data / "videos.csv").write_text("video,num_frames\na,12\n"),
         "videos.csv: column width, height is missing"),
    ],
)  # fmt: skip
def test_bad_data_is_told_before_any_work(
    train: Callable, data: Path, tmp_path: Path, change: Callable, message: str
) -> None:
    change(data)
    code, out, err = train("--steps", 2)
    assert len(err) == 1 and message in err[0], err
    if err[0].startswith("warning: "):
        assert code == 0
    else:
        assert (code, out) == (2, "") and err[0].startswith("actiontubes train: ")
        assert not (tmp_path / "out").exists()


def test_all_background(train: Callable, data: Path) -> None:
    """Boxes on test videos alone."""
    rows = ROWS.splitlines(keepends=True)
    (data / "groundtruth.csv").write_text("".join(rows[:1] + rows[4:]))
    code, out, err = train()
    assert (code, out, len(err)) == (2, "", 1)
    assert "groundtruth.csv: has no boxes for any of the 2 training videos; choose videos" in err[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_cannot_be_read(
    train: Callable, data: Path, tmp_path: Path, workers: int
) -> None:
    """The tables are right, so that only its turn shows it; also out of a worker process."""
    for name in "ab":
        (data / f"{name}.mp4").write_text("Once upon a time there was a video.\n" * 9)
    code, out, err = train("--workers", workers, "--batch", 2)
    assert (code, out, len(err)) == (2, "", 1), err
    assert re.match(r"actiontubes train: data/[ab]\.mp4: .*it may be damaged", err[0]), err
    assert "Traceback" not in err[0] and len(err[0]) < 200
    assert not (tmp_path / "out" / "detector.safetensors").exists()


@pytest.mark.slow
def test_proposals_from_elsewhere(train: Callable, tmp_path: Path) -> None:
    """The whole frame as a source, and the table of it that the first run left."""
    assert train("--proposals", "frame").code == 0
    table = tmp_path / "out" / "proposals.parquet"
    first = losses(tmp_path / "out")
    assert first[0] == ["step", "lr", "action", "action_boxes"]
    shutil.move(table, tmp_path / "people.parquet")
    shutil.rmtree(tmp_path / "out")
    assert train("--proposals", "people.parquet").code == 0
    np.testing.assert_array_equal(losses(tmp_path / "out"), first)
    shutil.rmtree(tmp_path / "out")
    done = train("--proposals", "ground-truth")
    assert done.code == 0 and not table.exists()


@pytest.mark.slow
def test_the_seed_decides(train: Callable, tmp_path: Path) -> None:
    runs = []
    for seed in (3, 3, 4):
        assert train("--seed", seed).code == 0
        runs.append(losses(tmp_path / "out"))
        shutil.rmtree(tmp_path / "out")
        torch.rand(7)  # whatever else has drawn at random
    assert runs[0] == runs[1] != runs[2]


def test_early_stopping(train: Callable, tmp_path: Path) -> None:
    """A learning rate of nearly nothing: no evaluation after the first is better."""
    words = ["--steps", 40, "--evaluate-every", 2, "--patience", 2, "--lr", 1e-12]
    done = train(*words)
    assert done.code == 0
    assert "stopped early: no better in 2 evaluations (--patience)" in done.out
    with (tmp_path / "out" / "evaluations.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4", "6"]
    assert len(losses(tmp_path / "out")) == 1 + 6
    again = train(*words, "--resume")  # is over, and stays so
    assert again.code == 0
    assert len(losses(tmp_path / "out")) == 1 + 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_gpu(command, train: Callable, tmp_path: Path) -> None:
    line = "--device cuda: PyTorch finds no GPU on this machine; use --device cpu"
    done = train("--device", "cuda")
    assert (done.code, done.err) == (2, [f"actiontubes train: {line}"])
    assert not (tmp_path / "out").exists()
    done = command("detect", "data/a.mp4", "--device", "cuda")
    assert (done.code, done.err) == (2, [f"actiontubes detect: {line}"])
    words = [
        command(name, *more, "--device", "gpu").err
        for name, more in (("train", ["--data", "data"]), ("detect", ["data/a.mp4"]))
    ]
    assert [line.partition("--device")[2] for (line,) in words] == [
        words[0][0].partition("--device")[2]
    ] * 2


@pytest.mark.parametrize("target", ["coco", "act", "cvat", "mot", "ava"])
def test_a_file_of_any_format_beside_the_videos(
    command, recipe: Path, data: Path, tmp_path: Path, target: str
) -> None:
    """The folder is the data set, whose parts videos.csv says; the boxes are those of the table."""
    names = {"coco": "a.json", "act": "gt.pkl", "cvat": "x.zip", "mot": "clips", "ava": "a.csv"}
    table = (data / "groundtruth.csv").rename(tmp_path / "groundtruth.csv")
    if target == "ava":  # a box on whole seconds alone
        rows = ROWS.replace("a,3,run,6,5,31,40,0\n", "")
        videos = re.sub(r",(train|test)$", r",25,\1", VIDEOS, flags=re.MULTILINE)
        (data / "videos.csv").write_text(videos.replace("height,split", "height,fps,split"))
        table.write_text(re.sub(r"^(\w),\d+,", r"\1,0,", rows, flags=re.MULTILINE))
    out = data / names[target]
    done = command("convert", table, "--to", target, "--out", out, "--media", data)
    assert done.code == 0, done.err
    if target == "mot":
        for file in out.iterdir():
            file.rename(data / file.name)
        out.rmdir()
    trained = tmp_path / "out"
    done = command("train", "--config", recipe, "--data", data, "--out", trained, "--steps", 1)
    assert done.code == 0, done.err
    assert "2 videos" in "".join([*done.err, done.out])
    assert set(read_table(Detections, trained / "detections.parquet").video_names) <= {"c"}


def test_several_files_of_ground_truth_are_refused(train: Callable, data: Path) -> None:
    (data / "groundtruth.csv").rename(data / "boxes.csv")
    done = train()
    assert done.code == 2
    assert done.err[-1].endswith(
        "call its table boxes.csv groundtruth.csv, or give data/boxes.csv itself"
    )
    (data / "boxes.csv").unlink()
    for name in ("a.json", "b.json"):
        (data / name).write_text('{"images": [], "annotations": [], "categories": []}')
    done = train()
    assert done.code == 2
    assert "data: has a.json, b.json, which all may be its ground truth; give one" in done.err[-1]
