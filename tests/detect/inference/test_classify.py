"""Accuracy of whole videos: what goes through the trunk, and how it is counted."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.cache import CATALOG, cached_path
from actiontubes.backbones.weights.load import kinetics400_labels
from actiontubes.datasets.clips.classification_clips import (
    ClassificationSample,
    FullVideos,
)
from actiontubes.datasets.clips.classification_set import ClassificationSet
from actiontubes.datasets.clips.options import CropConfig
from actiontubes.datasets.errors import InputError
from actiontubes.detect.evaluation.classification import (
    VideoScores,
    accuracies,
    correct_classes,
    read_class_map,
    top_k_hits,
    write_predictions,
)
from actiontubes.detect.inference import classify as classification_scores
from actiontubes.detect.inference.classify import (
    ClassifierTest,
    fuse,
    score_classifier,
    score_videos,
)
from actiontubes.detect.training.classifier import (
    format_accuracies,
    mean_result,
    new_classifier,
    pretrained_classifier,
    train_and_test,
)
from actiontubes.detect.training.options import ClassifierOptions, RunOptions, Schedule
from torch.utils.data import Dataset

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("run", "sit", "lie", "jump", "fall", "wave")


class Drawn(Dataset[ClassificationSample]):
    """Videos of noise, of so many frames each."""

    def __init__(self, *counts: int) -> None:
        self.counts = counts

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, i: int) -> ClassificationSample:
        generator = torch.Generator().manual_seed(i)
        shape = (self.counts[i], 32, 32, 3)
        clip = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        return ClassificationSample(clip, i % 6, f"video {i}")


@pytest.fixture(scope="module")
def model() -> PretrainedModel:
    torch.manual_seed(0)
    trunk = Trunk(get_variant("s3d"), 0.05).eval()
    head = Classifier(trunk.out_channels, 6, dropout=0.5).eval()
    return PretrainedModel(trunk, head, CLASSES, (0.5,) * 3, (0.5,) * 3)


def logits(model: PretrainedModel, clip: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return model.logits(clip[None])[0].numpy()


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_middle_clips_and_all_frames(model: PretrainedModel, monkeypatch: Any) -> None:
    """With windows of 20: 45 frames go in three parts of 15, 26 in two of 13, 16 and 20 in one."""
    monkeypatch.setattr(classification_scores, "WINDOW", 20)
    videos = Drawn(45, 26, 16, 20, 0)
    found = score_videos(model, videos, frames=16, progress=False)
    assert found.names == tuple(f"video {i}" for i in range(5))
    assert found.label.tolist() == [0, 1, 2, 3, 4]
    assert found.is_readable.tolist() == [True] * 4 + [False]
    first = videos[0].clip
    close(found.clip_logits[0], logits(model, first[14:30]))
    parts = [logits(model, first[i : i + 15]) for i in (0, 15, 30)]
    assert found.video_logits is not None
    close(found.video_logits[0], np.mean(parts, axis=0))
    close(found.clip_logits[1], logits(model, videos[1].clip[5:21]))
    halves = [logits(model, videos[1].clip[i : i + 13]) for i in (0, 13)]
    close(found.video_logits[1], np.mean(halves, axis=0))
    assert np.array_equal(found.video_logits[2], found.clip_logits[2])
    close(found.video_logits[3], logits(model, videos[3].clip))
    assert not found.clip_logits[4].any()
    only = score_videos(model, videos, frames=16, whole=False, progress=False)
    assert only.video_logits is None and np.array_equal(only.clip_logits, found.clip_logits)


def test_parts_count_by_their_frames(model: PretrainedModel, monkeypatch: Any) -> None:
    monkeypatch.setattr(classification_scores, "WINDOW", 16)
    found = score_videos(model, Drawn(31), frames=8, progress=False)
    clip = Drawn(31)[0].clip
    expected = (16 * logits(model, clip[:16]) + 15 * logits(model, clip[16:])) / 31
    assert found.video_logits is not None
    close(found.video_logits[0], expected)


def test_backwards(model: PretrainedModel) -> None:
    found = score_videos(model, Drawn(20), frames=16, backwards=True, progress=False)
    clip = Drawn(20)[0].clip.flip(0)
    close(found.clip_logits[0], logits(model, clip[2:18]))
    assert found.video_logits is not None
    close(found.video_logits[0], logits(model, clip))


def test_top_by_hand() -> None:
    scores = np.array([[3.0, 2, 1], [1, 3, 2], [1, 2, 3]])
    right = np.eye(3, dtype=bool)
    assert top_k_hits(scores, right, 1).tolist() == [True, True, True]
    wrong = right[[2, 2, 0]]
    assert [top_k_hits(scores, wrong, k).tolist() for k in (1, 2, 3)] == [
        [False] * 3, [False, True, False], [True] * 3
    ]  # fmt: skip
    assert top_k_hits(scores, np.array([[False, True, True]] * 3), 1).tolist() == [
        False,
        True,
        True,
    ]


def spread() -> VideoScores:
    """Of three videos of run, one of sit, and one that cannot be read."""
    clip = np.array([
        [5.0, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [3, 5, 2, 1, 0, 4], [0, 5, 1, 2, 3, 4], [0] * 6
    ])  # fmt: skip
    video = clip.copy()
    video[2] = clip[0]
    read = np.array([True, True, True, True, False])
    return VideoScores(("a", "b", "c", "d", "e"), np.array([0, 0, 0, 1, 0]), clip, video, read)


def test_accuracies_by_hand() -> None:
    """Clips: a and d right, c by the third guess, b by the sixth. Videos: c, too."""
    labels = ("run", "sit")
    right = correct_classes(labels, CLASSES, None)
    result = accuracies(spread(), labels, right)
    assert result == {
        "clip": {"top1": 50.0, "top5": 75.0},
        "video": {"top1": 75.0, "top5": 75.0},
        "per_class": {
            "run": {"videos": 3, "clip_top1": pytest.approx(100 / 3),
                    "video_top1": pytest.approx(200 / 3)},
            "sit": {"videos": 1, "clip_top1": 100.0, "video_top1": 100.0},
        },
        "videos": 4,
        "unreadable": ["e"],
    }  # fmt: skip
    assert json.loads(json.dumps(result)) == result
    assert format_accuracies(result) == "clips 50.0 top-1 75.0 top-5, videos 75.0 top-1 75.0 top-5"
    clips = accuracies(replace(spread(), video_logits=None), labels, right)
    assert clips["video"] is None and clips["clip"] == result["clip"]
    assert format_accuracies(clips) == "clips 50.0 top-1 75.0 top-5"
    none = replace(spread(), is_readable=np.zeros(5, bool))
    with pytest.raises(InputError, match="none of the 5 test videos could be read; the first is a"):
        accuracies(none, labels, right)


def test_late_fusion() -> None:
    one, other = spread(), spread()
    order = [5, 4, 3, 2, 1, 0]
    fused = fuse(one, replace(other, is_readable=np.array([True, False, True, True, True])), order)
    assert fused.video_logits is not None and one.video_logits is not None
    assert np.array_equal(fused.clip_logits, (one.clip_logits + one.clip_logits[:, ::-1]) / 2)
    assert np.array_equal(fused.video_logits, (one.video_logits + one.video_logits[:, ::-1]) / 2)
    assert fused.is_readable.tolist() == [True, False, True, True, False]
    assert fuse(one, replace(other, video_logits=None), order).video_logits is None


def test_means_of_splits() -> None:
    one = {"clip": {"top1": 50.0, "top5": 80.0}, "video": None}
    two = {"clip": {"top1": 70.0, "top5": 90.0}, "video": None}
    assert mean_result([one, two]) == {"clip": {"top1": 60.0, "top5": 85.0}, "video": None}


def test_predictions(tmp_path: Path) -> None:
    write_predictions(spread(), ("run", "sit"), CLASSES, tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a", "b", "c", "d", "e"]
    assert [row["label"] for row in rows] == ["run", "run", "run", "sit", "run"]
    assert [rows[1][f"best{k}"] for k in range(1, 6)] == ["wave", "fall", "jump", "lie", "sit"]
    share = np.exp(5 - np.arange(6)) / np.exp(5 - np.arange(6)).sum()
    assert [float(rows[1][f"score{k}"]) for k in range(1, 6)] == pytest.approx(share[:5], abs=1e-5)
    assert not any(rows[4][column] for column in rows[4] if column not in ("name", "label"))


def test_which_classes_are_right(tmp_path: Path) -> None:
    classes = ("riding a bike", "riding mountain bike", "archery")
    right = correct_classes(("Archery", "Riding_a_bike"), classes, None)
    assert right.tolist() == [[False, False, True], [True, False, False]]
    path = tmp_path / "map.csv"
    path.write_text("label,class\nBiking,riding a bike\nBiking,riding mountain bike\nx,archery\n")
    both = correct_classes(("x", "biking"), classes, read_class_map(str(path)))
    assert both.tolist() == [[False, False, True], [True, True, False]]
    with pytest.raises(
        InputError, match=r"class archer: the classifier has no such class .* archery"
    ):
        correct_classes(("archer",), classes, None)
    with pytest.raises(InputError, match="class archery: the classifier has no such class"):
        correct_classes(("archery",), classes, read_class_map(str(path)))
    path.write_text("label,class\nBiking,\n")
    with pytest.raises(InputError, match=r"map\.csv: row 2: the columns label and class"):
        read_class_map(str(path))
    with pytest.raises(
        InputError, match="--class-map absent: no such file, and not one of ucf101-24"
    ):
        read_class_map("absent")
    known = correct_classes(("Biking",), kinetics400_labels(), read_class_map("ucf101-24"))
    assert known.sum() == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 31}, "--size 31: must"),
        ({"frames": 7}, "--frames 7: must"),
        ({"workers": -1}, "--workers -1: must"),
    ],
)
def test_trials_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClassifierTest(**changes)


@pytest.fixture(scope="module")
def two_colours(tmp_path_factory: pytest.TempPathFactory) -> ClassificationSet:
    """Folders of ten frames, dark or bright."""
    import cv2

    folder = tmp_path_factory.mktemp("colours")
    paths = []
    for i in range(4):
        path = folder / f"v{i}"
        path.mkdir()
        for number in range(10):
            picture = np.full((48, 64, 3), 40 + 160 * (i % 2) + number, np.uint8)
            cv2.imwrite(str(path / f"{number + 1:05d}.png"), picture)
        paths.append(path)
    names = tuple(path.name for path in paths)
    return ClassificationSet(
        names, tuple(paths), np.array([0, 1, 0, 1]), ("dark", "bright"), "train"
    )


def test_from_videos_to_results(two_colours: ClassificationSet, tmp_path: Path) -> None:
    """Trained in the order of the model's classes, tested in that of the data's."""
    network = ClassifierOptions(backbone="i2d", weights=None, width=0.05, norm="batch")
    model = new_classifier(network, ("bright", "dark"))
    schedule = Schedule(
        steps=40, batch=4, optimizer="adamw", lr=0.005, warmup=0, ema=0.5, evaluate_every=25
    )
    crops, trial = CropConfig(frames=8, size=64), ClassifierTest(8, 64)
    test = replace(two_colours, split="test")

    def run(resume: bool = False) -> dict[str, Any]:
        with pytest.warns(UserWarning, match="4 of the 4 test videos are also training videos"):
            _, result = train_and_test(
                model, two_colours, test, tmp_path, network=network, crops=crops, test=trial,
                schedule=schedule, run=RunOptions(device="cpu", resume=resume),
            )  # fmt: skip
        return result

    result = run()
    assert result["clip"]["top1"] == result["video"]["top1"] == 100.0
    assert json.loads((tmp_path / "results.json").read_text()) == result
    with (tmp_path / "evaluations.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["step", "25", "40"]
    assert rows[0] == ["step", "clip top1", "clip top5"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "state.pt", "classifier.safetensors", "last.safetensors", "losses.csv", "evaluations.csv",
        "results.json", "predictions.csv",
    }  # fmt: skip
    again = run(resume=True)
    assert again == result
    loaded = pretrained_classifier("i2d", str(tmp_path / "classifier.safetensors"))
    found = score_classifier(loaded, test, trial, Accelerator(cpu=True))
    found.save(tmp_path / "again")
    assert found.accuracies | {"step": 40} == result
    assert (tmp_path / "again/predictions.csv").read_text() == (
        tmp_path / "predictions.csv"
    ).read_text()


def test_classifiers_to_test(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="--steps 0: tests weights without training; give --weights"
    ):
        pretrained_classifier("i3d", None)


def test_kinetics_weights_name_a_real_clip(shared: Callable[[str], Path]) -> None:
    """Of the 12 shared clips with a known class all are; the others would take minutes."""
    path = shared("ucf101-24/videos/v_SoccerJuggling_g23_c01.avi")
    if not cached_path(CATALOG["i3d-kinetics400"]).is_file():
        pytest.skip("needs actiontubes weights fetch i3d-kinetics400")
    model = pretrained_classifier("i3d", "kinetics400")
    videos = ClassificationSet((path.name,), (path,), np.array([0]), ("SoccerJuggling",), "test")
    scores = score_videos(model, FullVideos(videos, 224, 64), whole=False, progress=False)
    right = correct_classes(videos.labels, model.labels, read_class_map("ucf101-24"))
    assert accuracies(scores, videos.labels, right)["clip"]["top1"] == 100.0
