"""Every recipe that comes with the package is loaded and run for two steps, on data of its kind."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from actiontubes.datasets.formats.jhmdb import CLASSES as JHMDB_CLASSES
from actiontubes.datasets.formats.ucf101_24 import CLASSES as UCF_CLASSES
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.detect.model.checkpoint import load_detector
from scipy.io import savemat

RECIPES = files("actiontubes.tools") / "recipes"
NAMES = sorted(path.name.removesuffix(".yaml") for path in RECIPES.iterdir())
# Small enough for a test: neither weights nor width, one small picture a step.
SMALL = (
    "--steps 2 --warm-up 0 --batch 1 --workers 0 --width 0.0625 --weights null --norm batch "
    "--resnet-weights null --size 64 80 --hidden 16 --precision no --device cpu"
)
# Training on each part for the calibration has tests of its own, and one of these.
NOT_CROSS_FITTED = ["--calibration-folds", "0", "--calibration-videos", "0"]


def official_jhmdb(root: Path, numbered: Any) -> Path:
    """The official site's folders: two videos a class of six frames in every split."""
    (root / "splits").mkdir(parents=True)
    masks = np.zeros((240, 320, 6), np.uint8)
    masks[60:200, 100:180] = 1
    video = numbered.write(root / "video.avi", 6, size=(320, 240), codec="mpeg4")
    for name in JHMDB_CLASSES:
        for k in (1, 2, 3):
            lines = f"{name}_a.avi {1 + (k == 2)}\n{name}_b.avi {2 - (k == 2)}\n"
            (root / f"splits/{name}_test_split{k}.txt").write_text(lines)
        for each in (f"{name}_a", f"{name}_b"):
            folder = root / "puppet_mask" / name / each
            folder.mkdir(parents=True)
            savemat(folder / "puppet_mask.mat", {"part_mask": masks})
            path = root / "ReCompress_Videos" / name / f"{each}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(video)
    return root


def official_ucf101_24(root: Path, numbered: Any) -> Path:
    """pyannot.pkl, testlist01.txt and UCF-101/, two videos a class of 30 frames."""
    (root / "UCF-101").mkdir(parents=True)
    video = numbered.write(root / "video.avi", 30, size=(320, 240), codec="mpeg4")
    boxes = np.tile(np.array([100, 60, 80, 140], np.uint8), (20, 1))
    content, test = {}, []
    for label, name in enumerate(UCF_CLASSES):
        for k in (1, 2):
            each = f"{name}/v_{name}_g0{k}_c01"
            tube = {"label": label, "sf": 5, "ef": 25, "boxes": boxes}
            content[each] = {"annotations": [tube], "numf": np.uint8(30), "label": label}
            (root / "UCF-101" / name).mkdir(exist_ok=True)
            (root / "UCF-101" / f"{each}.avi").symlink_to(video)
        test.append(f"{each}.avi\n")
    (root / "pyannot.pkl").write_bytes(pickle.dumps(content))
    (root / "testlist01.txt").write_text("".join(test))
    return root


@pytest.fixture
def train(command, tmp_path: Path) -> Callable:
    """Runs a recipe by its name with the small settings, and looks at what it left."""

    def run(name: str, *words: object):
        out = tmp_path / "out"
        words = (*words, *(() if name == "custom" else NOT_CROSS_FITTED))
        done = command("train", "--config", name, "--out", out, *SMALL.split(), *words)
        assert done.code == 0, done.err
        assert "(protocol act)" in done.out
        return out, done

    return run


def check(out: Path, labels: int) -> None:
    """The files of one finished run of two steps."""
    names = {path.name for path in out.iterdir()}
    calibrated = {"calibration.json", "cross_fitted.parquet"}  # where videos are too few for more
    assert names - calibrated == {
        "detector.safetensors", "last.safetensors", "state.pt", "losses.csv", "evaluations.csv",
        "results.json", "detections.parquet", "tubes.parquet", "curves.png", "confusion.png",
        "precision_recall.png", "test_frames.jpg",
    }  # fmt: skip
    assert len(load_detector(out / "detector.safetensors").config.labels) == labels
    with (out / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1"]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert json.loads((out / "results.json").read_text())["protocol"] == "act"
    read_table(Detections, out / "detections.parquet")
    read_table(Tubes, out / "tubes.parquet")


def test_each_recipe_has_its_test_and_says_how_it_is_used() -> None:
    assert NAMES == ["ava", "custom", "demo", "jhmdb", "laptop", "ucf101-24", "ucf101-24-mini"]
    for name in NAMES:
        text = (RECIPES / f"{name}.yaml").read_text()
        assert text.startswith("# ") and f"actiontubes train --config {name} --data " in text


@pytest.mark.parametrize("name", ["jhmdb", "ucf101-24"])
def test_the_papers_settings(name: str) -> None:
    """320x400, 20 frames, S3D-G to Mixed_4e, a ResNet-50's RPN; AVA's head, at its 7 cells."""
    settings = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    expected = {
        "backbone": "s3d-g", "weights": "kinetics400", "endpoint": "Mixed_4e", "head": "mean",
        "proposals": "resnet50", "resnet_weights": "imagenet", "frames": 20, "size": [320, 400],
        "splits": [1, 2, 3] if name == "jhmdb" else [1],
    }  # fmt: skip
    assert {key: settings[key] for key in expected} == expected


def test_ava(command, train: Callable, numbered, tmp_path: Path) -> None:
    """Key frames a second apart in long videos, people who do several things, and `prepare ava`."""
    root = tmp_path / "ava"
    (root / "videos").mkdir(parents=True)
    for name in ("long1", "long2"):
        numbered.write(root / "videos" / f"{name}.mp4", 150, rate=25)
    box, other = "0.1,0.2,0.5,0.9", "0.5,0.2,0.9,0.9"
    rows = "".join(
        f"{{}},090{second},{corners},{action},{person}\n"
        for second in (1, 2, 3, 4)
        for corners, action, person in ((box, 1, 0), (box, 12, 0), (other, 12, 1), (other, 5, 1))
    )
    for part, name in (("train", "long1"), ("val", "long2")):
        (root / f"ava_{part}_v2.2.csv").write_text(rows.replace("{}", name))
    (root / "ava_action_list_v2.2_for_activitynet_2019.pbtxt").write_text(
        'item {\n  name: "stand"\n  id: 12\n}\nitem {\n  name: "bend"\n  id: 1\n}\n'
    )
    done = command("prepare", "ava", "--root", root, "--preview")
    assert done.code == 0, done.err
    assert any("leaving out 8 of 32 rows of classes" in line for line in done.err)
    assert any("2 videos begin at second 900" in line for line in done.err)
    tubes = read_table(Tubes, root / "groundtruth.parquet")
    assert tubes.label_names == ("bend", "stand")
    assert sorted(set(tubes.frame.tolist())) == [25, 50, 75, 100]
    assert (root / "preview" / "index.html").is_file()
    out, done = train("ava", "--data", root)
    check(out, 2)
    assert any("only annotated frames are tested on" in line for line in done.err)
    settings = load_detector(out / "detector.safetensors").config
    assert settings.multi_label and settings.labels == ("bend", "stand")
    done = command(
        "evaluate", "--ground-truth", root, "--detections", out / "detections.parquet",
        "--protocol", "ava", "--annotated-frames", "boxed",
    )  # fmt: skip
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", ["custom", "laptop"])
def test_custom(train: Callable, figures: Path, name: str) -> None:
    # New weights have norms to train, also in the head.
    out, _ = train(name, "--data", figures, "--freeze", "Mixed_4f")
    check(out, 5)
    settings = load_detector(out / "detector.safetensors").config
    assert (settings.backbone, settings.head) == ("i3d", "mixed")


def test_demo(train: Callable, figures: Path) -> None:
    out, _ = train("demo", "--data", figures)
    check(out, 5)


def test_ucf101_24(train: Callable, numbered, tmp_path: Path) -> None:
    root = official_ucf101_24(tmp_path / "ucf", numbered)
    out, _ = train(
        "ucf101-24", "--data", root, "--proposals", "resnet18",
        "--test-videos", "v_Basketball_g02_c01", "v_Biking_g02_c01",
    )  # fmt: skip
    check(out, 24)
    settings = load_detector(out / "detector.safetensors").config
    assert settings.labels == UCF_CLASSES and settings.frames == 20


@pytest.mark.slow
def test_jhmdb_is_three_splits_and_their_mean(
    command, train: Callable, numbered, tmp_path: Path
) -> None:
    root = official_jhmdb(tmp_path / "jhmdb", numbered)
    assert command("prepare", "jhmdb", "--root", root).code == 0
    out, done = train("jhmdb", "--data", root, "--proposals", "features")
    for k in (1, 2, 3):
        check(out / f"split{k}", 21)
        found = read_table(Detections, out / f"split{k}" / "detections.parquet")
        # In split 2 the other half is for testing.
        assert {name[-1] for name in found.video_names} == {"a" if k == 2 else "b"}
    results = [json.loads((out / f"split{k}/results.json").read_text()) for k in (1, 2, 3)]
    for measure, name in (("frame_map", "frame-mAP@0.5"), ("video_map", "video-mAP@0.5")):
        values = [result[measure]["0.5"] for result in results]
        each = ", ".join(f"{value:.2f}" for value in values)
        assert f"{name} {sum(values) / 3:.2f} ({each})" in done.out


def test_ucf101_24_mini(train: Callable, shared: Callable[[str], Path]) -> None:
    out, _ = train(
        "ucf101-24-mini", "--data", shared("ucf101-24/pyannot.pkl"),
        "--media", shared("ucf101-24/videos"), "--test-videos", "v_SoccerJuggling_g23_c01",
        "--train-videos", "v_Basketball_g01_c01", "v_Basketball_g01_c02", "v_Biking_g01_c01",
        "v_CliffDiving_g03_c01", "v_HorseRiding_g01_c03", "v_SalsaSpin_g03_c01",
        "v_SkateBoarding_g02_c01", "--freeze", "Mixed_4f",
    )  # fmt: skip
    check(out, 7)


def test_a_recipe_is_found_by_name_beside_a_folder_of_that_name(
    command, figures: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    for words in (["--config", "demo"], ["--config=demo"]):
        done = command("train", *words, "--data", figures, "--steps", 0)
        assert done == (2, "", ["actiontubes train: --steps 0: must be 1 or more"])
    with as_file(RECIPES / "demo.yaml") as path:
        (tmp_path / "custom").write_text(path.read_text().replace("steps: ", "steps: -"))
    done = command("train", "--config", "custom", "--data", figures)
    assert done.err == ["actiontubes train: --steps -340: must be 1 or more"]
