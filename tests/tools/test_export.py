"""`actiontubes export`, and `detect --checkpoint model.onnx`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections
from actiontubes.detect.inference.onnx_predictor import load_onnx_predictor

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
                       "--tables-only")  # fmt: skip
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
