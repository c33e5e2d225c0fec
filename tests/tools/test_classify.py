"""`actiontubes classify`: from lists to results, and every bad input in one line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.weights.load import load_pretrained
from actiontubes.datasets.clips.options import ClassificationData, CropConfig
from actiontubes.detect.inference.classify import ClassifierTest
from actiontubes.detect.training.options import ClassifierOptions, Schedule
from actiontubes.tools.arguments import parse_arguments
from actiontubes.tools.classify import classify as classify_function

TINY = (
    "backbone: i2d\nwidth: 0.05\nweights: null\nnorm: batch\nframes: 8\nsize: 32\nbatch: 2\n"
    "steps: 2\nwarm_up: 0\ndevice: cpu\n"
)


@pytest.fixture
def data(tmp_path: Path, numbered: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """UCF101 in small: two classes of two videos of 10 frames, two splits; the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    folder = tmp_path / "data"
    for label in ("run", "sit"):
        (folder / label).mkdir(parents=True)
        for name in "ab":
            numbered.write(folder / label / f"{name}.avi", 10, codec="mpeg4", b_frames=0)
    (folder / "classInd.txt").write_text("1 sit\n2 run\n")
    for split, (train, test) in enumerate(("ab", "ba"), 1):
        (folder / f"trainlist{split:02d}.txt").write_text(f"run/{train}.avi 2\nsit/{train}.avi 1\n")
        (folder / f"testlist{split:02d}.txt").write_text(f"run/{test}.avi\nsit/{test}.avi\n")
    return folder


@pytest.fixture
def classify(command: Callable, data: Path) -> Callable:
    """Runs the smallest network on the data into the folder "out"."""

    def run(*words: object) -> Any:
        return command(
            "classify", "--config", "tiny.yaml", "--data", "data", "--out", "out", *words
        )

    return run


def test_splits_and_their_mean(classify: Callable, tmp_path: Path) -> None:
    done = classify("--splits", 1, 2)
    assert (done.code, done.err) == (0, [])
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"split1", "split2", "results.json"}
    results = [json.loads((out / f"split{k}/results.json").read_text()) for k in (1, 2)]
    mean = json.loads((out / "results.json").read_text())
    assert mean["splits"] == [1, 2] and set(mean) == {"splits", "clip", "video"}
    top1 = sum(result["video"]["top1"] for result in results) / 2
    assert mean["video"]["top1"] == pytest.approx(top1) and mean["video"]["top5"] == 100.0
    assert f"out: clips {mean['clip']['top1']:.1f} top-1 100.0 top-5, videos {top1:.1f}" in done.out
    weights = "out/split1/classifier.safetensors"
    assert done.out.endswith(f"\nactiontubes train --backbone i2d --weights {weights} ...\n")
    with (out / "split2/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["label"]) for row in rows] == [
        ("run/a.avi", "run"), ("sit/a.avi", "sit")
    ]  # fmt: skip
    assert load_pretrained(get_variant("i2d"), weights).labels == ("sit", "run")
    # A run is neither lost nor mixed.
    again = classify("--splits", 1, 2)
    assert (
        again.code == 2
        and "out/split1/state.pt: this folder already contains a training run" in again.err[0]
    )
    resumed = classify("--splits", 1, 2, "--resume")
    assert resumed.code == 0 and json.loads((out / "results.json").read_text()) == mean


def test_weights_as_they_are(classify: Callable, tmp_path: Path) -> None:
    assert classify().code == 0
    trained = json.loads((tmp_path / "out/results.json").read_text())
    assert trained.pop("step") == 2
    words = ["--steps", 0, "--weights", "out/classifier.safetensors"]
    done = classify(*words, "--out", "same")
    assert (done.code, done.err) == (0, [])
    assert {path.name for path in (tmp_path / "same").iterdir()} == {
        "results.json", "predictions.csv"
    }  # fmt: skip
    assert json.loads((tmp_path / "same/results.json").read_text()) == trained
    done = classify(*words, "--out", "clips", "--clips-only", "--reverse")
    assert done.code == 0 and "videos" not in done.out
    assert json.loads((tmp_path / "clips/results.json").read_text())["video"] is None
    # Only the videos to test on need be there.
    for label in ("run", "sit"):
        (tmp_path / f"data/{label}/a.avi").unlink()
    (tmp_path / "map.csv").write_text("label,class\nrun,sit\nrun,run\nsit,sit\nsit,run\n")
    done = classify(*words, "--class-map", "map.csv")
    assert done.code == 0 and "out: clips 100.0 top-1" in done.out


def test_flow_and_its_fusion_with_rgb(classify: Callable, tmp_path: Path) -> None:
    assert classify("--out", "rgb").code == 0
    flow = ("--streams", "flow", "--flow-method", "dis")
    done = classify(*flow, "--out", "flow")
    assert (done.code, done.err) == (0, [])
    weights = [f"{stream}/classifier.safetensors" for stream in ("rgb", "flow")]
    assert load_pretrained(get_variant("i2d"), weights[1], channels_in=2).mean != (0.5, 0.5)
    done = classify("--steps", 0, "--weights", weights[0], "--fuse", weights[1], *flow[2:])
    assert (done.code, done.err) == (0, [])
    words = ("--steps", 0, "--weights", weights[1], "--fuse", weights[0], *flow)
    assert classify(*words, "--out", "other").code == 0
    results = [(tmp_path / f"{out}/results.json").read_text() for out in ("out", "other")]
    assert results[0] == results[1]
    done = classify("--steps", 0, "--weights", weights[0], "--fuse", weights[0])
    assert done.code == 2
    assert "rgb/classifier.safetensors: contain no classifier for flow; train one" in done.err[0]
    done = classify(*words, "--reverse")
    assert done.code == 2 and "--reverse: works on RGB only" in done.err[0]


def test_videos_that_cannot_be_read(classify: Callable, data: Path, tmp_path: Path) -> None:
    (data / "sit/a.avi").unlink()
    done = classify()
    assert done.code == 0 and done.err == [
        "warning: data: ignoring 1 of the 2 train1 videos that were not found; the first is "
        "sit/a.avi"
    ]
    (data / "run/b.avi").write_bytes(b"nothing")
    done = classify("--steps", 0, "--weights", "out/classifier.safetensors")
    assert done.code == 0 and len(done.err) == 1
    assert re.search(r"warning: data/run/b\.avi: .*; skipping this video", done.err[0])
    result = json.loads((tmp_path / "out/results.json").read_text())
    assert result["unreadable"] == ["run/b.avi"] and result["videos"] == 1


OPTIONS: dict[str, tuple[object, ...]] = {
    "backbone": ("s3d",), "width": (0.125,), "freeze": ("Mixed_3b",), "norm": ("frozen",),
    "weights": ("w.pth",), "frames": (16,), "size": (64,), "dropout": (0.25,),
    "label_smoothing": (0.1,), "flip": (0.125,), "color": (0.375,), "workers": (1,), "steps": (11,),
    "batch": (3,), "accumulate": (2,), "optimizer": ("adamw",), "lr": (0.02,), "warmup": (13,),
    "decay": ("cosine",), "weight_decay": (0.002,), "clip_norm": (4.0,), "ema": (0.75,),
    "save_every": (14,), "evaluate_every": (15,), "patience": (4,), "seed": (16,),
    "labels": ("sit", "run"),
}  # fmt: skip


class Stop(Exception):
    pass


def test_every_option_arrives(classify: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from actiontubes.detect.training import classifier as classification

    asked: dict[str, Any] = {}

    def new_classifier(network: Any, labels: tuple[str, ...], **options: Any) -> None:
        asked.update(options, **vars(network), labels=labels)

    def train_and_test(
        model: Any, train: Any, test_set: Any, folder: Path, *, network: Any, crops: Any,
        test: Any, schedule: Any, run: Any,
    ) -> None:  # fmt: skip
        asked.update(vars(test) | vars(network) | vars(crops) | vars(schedule) | vars(run))
        raise Stop

    monkeypatch.setattr(classification, "new_classifier", new_classifier)
    monkeypatch.setattr(classification, "train_and_test", train_and_test)
    words = ["--compile", "--reverse", "--clips-only", "--flow-method", "dis"]
    for name, values in OPTIONS.items():
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    with pytest.raises(Stop):
        classify(*words)
    expected = {name: v[0] if len(v) == 1 else v for name, v in OPTIONS.items()}
    expected |= {"compile": True, "backwards": True, "whole": False, "resume": False}
    expected |= {"streams": "rgb", "flow_method": "dis"}
    expected |= {"class_map": None, "precision": "auto", "trackers": None, "device": "cpu"}
    assert asked == expected


def test_defaults_are_those_of_the_library() -> None:
    options = parse_arguments(classify_function, "classify", ["--data", "videos"])
    # Of clips there are six to a GPU, with little weight decay (the paper).
    assert options["schedule"] == Schedule(batch=6, weight_decay=1e-7)
    assert options["crops"] == CropConfig() and options["network"] == ClassifierOptions()
    assert options["data"] == ClassificationData(data=Path("videos"))
    assert (CropConfig().frames, CropConfig().size) == (ClassifierTest().frames, 224)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data absent", "absent: list or folder not found"),
        ("--media absent", "--media absent: folder not found"),
        ("--test-data absent", "absent: list or folder not found"),
        (
            "--batch 1",
            "--batch 1: with clips this small, batch norm needs at least 2 clips a batch",
        ),
        ("--splits 3", "data/trainlist03.txt: list not found; UCF101 has splits 1 to 3"),
        (
            "--labels run lie",
            "data: video sit/b.avi has class sit, which is not one of the 2 labels (run, lie)",
        ),
        ("--backbone s4d", "--backbone s4d: unknown network; choose from i2d"),
        ("--weights kin", "--weights kin: no such file; for i2d give"),
        ("--norm frozen", "--norm frozen: needs pretrained weights"),
        ("--freeze Mixed_9", "--freeze: this trunk has no layer Mixed_9; choose from"),
        ("--size 31", "--size 31: must be 32 or more"),
        ("--frames 7", "--frames 7: must be 8 or more"),
        ("--flip 1.5", "--flip 1.5: must be between 0 and 1"),
        ("--dropout 1", "--dropout 1.0: must be at least 0 and less than 1"),
        ("--label-smoothing 1", "--label-smoothing 1.0: must be at least 0 and less than 1"),
        ("--steps -1", "--steps -1: must be 0 or more"),
        ("--lr 0", "--lr 0.0: must be greater than 0"),
        ("--workers -1", "--workers -1: must be 0 or more"),
        ("--fuse w.pth", "--fuse: works only with --steps 0"),
        ("--steps 0", "--steps 0: tests weights without training; give --weights"),
        ("--class-map jhmdb", "--class-map: works only with --steps 0"),
        (
            "--steps 0 --weights w.safetensors --class-map absent",
            "--class-map absent: no such file",
        ),
        ("--steps 0 --weights w.safetensors", "w.safetensors: no such file"),
        ("--trackers nothing", "--trackers nothing: is not installed"),
    ],
)
def test_bad_input_ends_in_one_line(
    classify: Callable, words: str, message: str, tmp_path: Path
) -> None:
    done = classify(*words.split())
    assert done.code == 2 and len(done.err) == 1 and done.out == "", done
    assert done.err[0].startswith("actiontubes classify: ") and message in done.err[0], done.err
    assert not list(tmp_path.glob("out/**/*.safetensors"))


def test_classes_that_the_weights_do_not_know(classify: Callable, tmp_path: Path) -> None:
    assert classify().code == 0
    for label in ("run", "sit"):
        (tmp_path / f"other/{label}s").mkdir(parents=True)
        (tmp_path / f"data/{label}/a.avi").rename(tmp_path / f"other/{label}s/a.avi")
    done = classify("--data", "other", "--steps", 0, "--weights", "out/classifier.safetensors")
    assert done.code == 2 and len(done.err) == 1
    assert "class runs: the classifier has no such class (similar: run" in done.err[0]
    torch.save({}, tmp_path / "w.pth")
    done = classify("--steps", 0, "--weights", "w.pth")
    assert done.code == 2 and "w.pth: a layout that is not known" in done.err[0]
