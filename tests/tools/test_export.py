"""`actiontubes export`, and `detect --checkpoint model.onnx`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections
from actiontubes.detect.inference.export import ExportableDetector, export_detector
from actiontubes.detect.inference.onnx_predictor import load_onnx_predictor
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.tools.arguments import parse_arguments
from actiontubes.tools.train import train

pytest.importorskip("onnxscript")


@pytest.fixture(scope="session")
def model(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of a trained detector."""
    from actiontubes.tools.main import main

    path = tmp_path_factory.mktemp("model") / "model.onnx"
    words = ["export", trained / "detector.safetensors", "--out", path, "--frames", 40]
    assert main([str(word) for word in words]) == 0
    return path


def rows(folder: Path) -> np.ndarray:
    """Frame, label, score and box of each detection, in an order of their own."""
    table = read_table(Detections, folder / "detections.parquet")
    columns = np.column_stack([table.frame, table.label, table.score, table.boxes])
    return columns[np.lexsort(columns.round(3).T[::-1])]


def test_detect_with_the_model(
    command: Callable, model: Path, trained: Path, figures: Path, tmp_path: Path
) -> None:
    """The same detections as with the checkpoint: the network is I2D, to which windows are one."""
    video = figures / "videos" / "test_000.mp4"
    for name, checkpoint in (("a", trained / "detector.safetensors"), ("b", model)):
        done = command("detect", video, "--checkpoint", checkpoint, "--out", tmp_path / name,
                       "--tables-only", "--precision", "no")  # fmt: skip
        assert (done.code, done.err) == (0, [])
    a, b = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert len(a) > 100 and set(a[:, 0]) == set(range(52))
    np.testing.assert_allclose(a, b, atol=1e-2)
    np.testing.assert_allclose(a[:, 2], b[:, 2], atol=1e-3)


@pytest.mark.parametrize("option", ["--external-proposals", "--given"])  # the latter: version 0.1
def test_the_model_without_proposals(
    command: Callable, trained: Path, tmp_path: Path, option: str
) -> None:
    out = tmp_path / "folder" / "external.pt2"
    words = ["--frames", 4, option, "--out", out]
    done = command("export", trained / "detector.safetensors", *words)
    assert (done.code, done.err) == (0, [])
    assert done.out.startswith(f"{out}: torch.export, clips of 4x48x64, ")
    assert [path.name for path in out.parent.iterdir()] == ["external.pt2"]


# Small enough for a test, with the layers of the recipe.
SMALL = (
    "--data . --width 0.0625 --weights null --norm batch --resnet-weights null --size 64 80 "
    "--hidden 16 --proposal-count 10"
)


def build_recipe(name: str) -> Detector:
    """A detector of a recipe with random weights, whose scores and boxes differ."""
    options = parse_arguments(train, "train", ["--config", name, *SMALL.split()])
    config = replace(options["config"], labels=("run", "sit"), proposals=options["proposals"])
    torch.manual_seed(0)
    detector = build_detector(config)
    for key, value in detector.head.named_parameters():
        if key.startswith(("scores", "deltas")) and value.ndim > 1:
            torch.nn.init.normal_(value, std=0.5 if "scores" in key else 0.05)
    for norm in detector.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):
            norm.momentum = 1.0
    boxes, zero = torch.tensor([[5.0, 5, 30, 40], [20, 10, 60, 45]]), torch.tensor([0])
    clips = torch.from_numpy(make_clip(config))[None]
    with torch.no_grad():  # the norms' statistics
        detector(clips, zero, zero + config.frames // 2, [boxes], [torch.eye(2)], [0])
    return detector.eval()


def make_clip(config: DetectorConfig) -> np.ndarray:
    """(T, H, W, 3) of coarse noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (config.frames, 8, 10, 3), dtype=np.uint8)
    return coarse.repeat(config.height // 8, 1).repeat(config.width // 10, 2)


def test_two_recipes_make_the_same_network() -> None:
    """So that one of each pair need not be exported; mini differs from custom in the RPN alone."""
    names = ("jhmdb", "ucf101-24", "custom", "ucf101-24-mini")
    words = ["--data", ".", "--size", "64", "80", "--proposal-count", "10", "--hidden", "16"]
    jhmdb, ucf101_24, custom, mini = (
        parse_arguments(train, "train", ["--config", name, *words])["config"] for name in names
    )
    assert jhmdb == ucf101_24
    rpn = ("anchor_sides", "anchor_ratios", "proposal_channels")
    assert replace(mini, **{name: getattr(custom, name) for name in rpn}) == custom


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "extension"),
    [("jhmdb", "onnx"), ("custom", "onnx"), ("demo", "onnx"), ("demo", "pt2")],
)
def test_the_checkpoint_of_each_recipe(name: str, extension: str, tmp_path: Path) -> None:
    """ONNX and torch.export give the numbers of PyTorch, for any number of boxes.

    jhmdb's ResNet-50 alone takes a minute: with ACTIONTUBES_LONG=1 only.
    """
    if name == "jhmdb" and not os.environ.get("ACTIONTUBES_LONG"):
        pytest.skip("with ACTIONTUBES_LONG=1 only")
    detector = build_recipe(name)
    frames, clip = detector.config.frames, make_clip(detector.config)
    path = tmp_path / f"model.{extension}"
    export_detector(detector, path, frames=frames)
    if extension == "onnx":
        session = onnxruntime.InferenceSession(path)
    else:
        program = torch.export.load(path).module()
    for count in (1, 3):
        key_frames = torch.linspace(frames // 2, frames - 1, count)
        with torch.inference_mode():
            expected = ExportableDetector(detector, frames)(torch.from_numpy(clip), key_frames)
            if extension == "pt2":
                scores, boxes, key = program(torch.from_numpy(clip), key_frames)
            else:
                inputs = {"clip": clip, "key_frames": key_frames.numpy()}
                scores, boxes, key = map(torch.from_numpy, session.run(None, inputs))
        assert len(expected[0]) >= 5 * count and expected[0].max() - expected[0].min() > 0.01
        torch.testing.assert_close(scores, expected[0], atol=3e-4, rtol=0)
        # As fractions of the frame.
        width = detector.config.width
        torch.testing.assert_close(boxes / width, expected[1] / width, atol=1e-4, rtol=0)
        assert torch.equal(key, expected[2])


def test_a_failure_of_the_exporter_is_one_line(
    command: Callable, trained: Path, tmp_path: Path, monkeypatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        print("graph():\n" * 1000)
        print("W0001 a warning", file=sys.stderr)
        raise RuntimeError("Could not guard on Eq(u1, 1)\n" + "graph():\n" * 1000)

    monkeypatch.setattr(torch.export, "export", fail)
    out = tmp_path / "model.onnx"
    done = command("export", trained / "detector.safetensors", "--out", out)
    assert (done.code, done.out) == (2, "") and not list(tmp_path.iterdir())
    assert done.err == [
        f"actiontubes export: {out}: torch's exporter failed (RuntimeError: Could not guard on "
        "Eq(u1, 1)); try .pt2 or another version of torch, and report it with --debug"
    ]


def test_settings_travel(model: Path) -> None:
    loaded = load_onnx_predictor(model)
    assert (loaded.clip_frames, loaded.config.height) == (40, 48)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("absent.safetensors", "absent.safetensors: file not found"),
        ("DETECTOR --out model.pt", "model.pt: the name must end in .onnx or .pt2"),
        ("DETECTOR --opset 11", "--opset 11: must be 18 to 21"),
        ("DETECTOR --frames 1", "--frames 1: this detector needs at least 4"),
    ],
)
def test_errors(
    command: Callable, trained: Path, words: str, message: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = words.replace("DETECTOR", str(trained / "detector.safetensors"))
    done = command("export", *line.split())
    assert done.code == 2 and len(done.err) == 1 and message in done.err[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--compile", "--precision bf16", "--proposals frame"])
def test_options_that_do_not_go_with_the_model(
    command: Callable, model: Path, figures: Path, option: str, tmp_path: Path
) -> None:
    video = figures / "videos" / "test_000.mp4"
    words = ["--checkpoint", model, "--out", tmp_path / "out", *option.split()]
    done = command("detect", video, *words)
    assert done.code == 2 and option.split()[0] in done.err[0]
