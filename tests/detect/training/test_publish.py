"""`train --push` and hub:OWNER/NAME, with a folder that stands for the hub.

The folder is laid out as huggingface_hub keeps its copies, so that the library itself, offline,
reads what was pushed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import actiontubes
import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from actiontubes.datasets.errors import InputError
from actiontubes.detect.inference.hub import find_checkpoint, is_hub_name
from actiontubes.detect.model.checkpoint import load_sections
from actiontubes.tools.main import main
from huggingface_hub import constants


class FolderHub:
    """Stands for `HfApi`: repositories are folders."""

    root: Path

    def __init__(self, library_name: str) -> None:
        assert library_name == "actiontubes"

    @classmethod
    def folder(cls, repo_id: str) -> Path:
        return cls.root / f"models--{repo_id.replace('/', '--')}"

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        if repo_id.startswith("others/"):
            raise PermissionError("403 Forbidden: you may not write there")
        assert private and exist_ok
        self.folder(repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        folder, commit = self.folder(repo_id), "0123456789" * 4
        shutil.copytree(folder_path, folder / "snapshots" / commit)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit)
        return f"hub/{repo_id}/commit/{commit}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch) -> type[FolderHub]:
    """An empty hub, and the library offline."""
    FolderHub.root = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub, "HfApi", FolderHub)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(FolderHub.root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return FolderHub


TINY = (
    "backbone: i2d\nwidth: 0.0625\nweights: null\nnorm: batch\nendpoint: Mixed_3c\n"
    "proposals: features\nproposal_endpoint: Mixed_3c\nproposal_count: 10\nhidden: 16\n"
    "frames: 4\nsize: [48, 64]\nrois_per_frame: 8\nbatch: 1\nsteps: 2\ndevice: cpu\n"
    "calibration_folds: 0\n"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> list[str]:
    """The words of a finished training."""
    from actiontubes.datasets.figures.dataset import make_figure_dataset

    folder = tmp_path_factory.mktemp("publish")
    make_figure_dataset(
        folder / "figures", train=3, test=1, frames=52, height=96, width=128, progress=False
    )
    (folder / "tiny.yaml").write_text(TINY)
    words = ["train", "--config", str(folder / "tiny.yaml"), "--data", str(folder / "figures"),
             "--out", str(folder / "out")]  # fmt: skip
    torch.set_num_threads(1)
    assert main(words) == 0
    return words


@pytest.mark.slow  # a detector is trained for two steps
def test_pushed_and_loaded(trained: list[str], hub, numbered, tmp_path: Path, capsys) -> None:
    out = Path(trained[-1])
    assert main([*trained, "--resume", "--push", "me/figures"]) == 0
    assert "hub/me/figures/commit/" in capsys.readouterr().out
    [pushed] = hub.folder("me/figures").glob("snapshots/*")
    assert sorted(path.name for path in pushed.iterdir()) == [
        "README.md", "detector.safetensors", "results.json"
    ]  # fmt: skip
    assert find_checkpoint("hub:me/figures") == pushed / "detector.safetensors"
    assert find_checkpoint("hub:me/figures@main") == pushed / "detector.safetensors"

    text = (pushed / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    facts, scores = yaml.safe_load(header), json.loads((out / "results.json").read_text())
    [entry] = facts["model-index"]
    values = {each["type"]: each["value"] for each in entry["results"][0]["metrics"]}
    assert values["frame-mAP@0.5"] == scores["frame_map"]["0.5"]
    assert facts["library_name"] == "actiontubes"
    assert 'actiontubes.load("hub:me/figures")' in body
    assert "Trained on 3 videos (156 frames, " in body and "of figures, tested on" in body
    assert f"Protocol `{scores['protocol']}`" in body
    assert f"| {scores['frame_map']['0.5']:.1f} |" in body
    for label in scores["frame_ap"]["0.5"]:
        assert re.search(rf"^\| {label} \| ", body, re.MULTILINE)
    calibrated = "calibration" in load_sections(out / "detector.safetensors")
    assert ("The scores were not calibrated" in body) is not calibrated
    assert str(tmp_path.parent) not in text, "no path of this machine"

    video = numbered.write(tmp_path / "v.mp4", 20)
    shared = actiontubes.load("hub:me/figures", precision="no").predict(video)
    local = actiontubes.load(out / "detector.safetensors", precision="no").predict(video)
    assert len(local.detections) and (shared.detections.boxes == local.detections.boxes).all()
    assert np.array_equal(shared.detections.score, local.detections.score)
    words = ["detect", video, "--checkpoint", "hub:me/figures", "--out", tmp_path / "tubes"]
    assert main([*map(str, words), "--tables-only"]) == 0
    assert (tmp_path / "tubes" / "tubes.parquet").is_file()


@pytest.mark.slow
def test_wrong_names_are_told_before_training(trained, hub, tmp_path: Path, capsys) -> None:
    for name, reason in (("a/b/c", "OWNER/NAME"), ("others/x", "403 Forbidden")):
        words = [*trained[:-1], str(tmp_path / "out"), "--push", name]
        assert main(words) == 2
        assert re.search(f"--push {name}: .*{reason}", capsys.readouterr().err)
        assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize(
    "name, reason",
    [("hub:me/nothing", "cannot be reached"), ("hub:a/b/c", "OWNER/NAME"), ("hub:", "OWNER/NAME")],
)
def test_what_the_hub_does_not_have(hub, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        actiontubes.load(name)
    assert str(caught.value).startswith("hub:")


def test_a_file_that_is_no_detector(hub, tmp_path: Path, monkeypatch) -> None:
    """Whatever lies in the repository under the checkpoint's name is read as tensors alone."""
    snapshot = hub.folder("them/trap") / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (hub.folder("them/trap") / "refs").mkdir()
    (hub.folder("them/trap") / "refs" / "main").write_text("c0ffee")
    torch.save({"a": _Trap()}, snapshot / "detector.safetensors")
    with pytest.raises(InputError, match="cannot be read as a"):
        actiontubes.load("hub:them/trap")
    assert not _Trap.sprung


class _Trap:
    sprung = False

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _spring, ()


def _spring() -> None:
    _Trap.sprung = True


def test_files_come_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("hub:me") and not is_hub_name("detector.safetensors")
    Path("hub:me").touch()
    assert not is_hub_name("hub:me") and find_checkpoint("hub:me") == Path("hub:me")
