"""The front door: `import actiontubes`, and the Python of the README."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import actiontubes
import numpy as np
import pytest
from actiontubes.datasets.video.reader import read_video

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests" / "files" / "v0.1"
CHECKPOINT = FILES / "run" / "detector.safetensors"
VIDEO = FILES / "data" / "videos" / "train_000.mp4"
HEAVY = ("torch", "torchvision", "cv2", "av", "pyarrow", "pandas", "scipy", "matplotlib", "onnx")


def loaded_by(program: str) -> list[str]:
    """The heavy packages that a program imports."""
    program += f"; import sys; print(*sorted(set(sys.modules) & set({HEAVY})))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_imports_are_lazy() -> None:
    assert loaded_by("import actiontubes; dir(actiontubes)") == []
    names = "actiontubes.evaluate, actiontubes.link, actiontubes.read, actiontubes.write"
    light = set(loaded_by(f"import actiontubes; {names}"))
    assert not light & {"torch", "torchvision", "cv2", "av", "matplotlib", "onnx"}


def test_every_public_name_is_there() -> None:
    for name in actiontubes.__all__:
        assert getattr(actiontubes, name).__doc__, name
        assert name in dir(actiontubes)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = actiontubes.lode


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python blocks run, one after the other, beside a checkpoint and a video."""
    texts = [(ROOT / name).read_text() for name in ("README.md", "docs/backbones.md")]
    blocks = re.findall(r"```python\n(.*?)```", "\n".join(texts), re.DOTALL)
    assert any("actiontubes.load" in block for block in blocks)
    shutil.copy(CHECKPOINT, tmp_path / "detector.safetensors")
    shutil.copy(VIDEO, tmp_path / "video.mp4")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        if "kinetics400" not in block:  # those weights would be downloaded
            exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "tubes" / "tubes.parquet").is_file()


@pytest.fixture(scope="module")
def result():
    return actiontubes.load(CHECKPOINT, device="cpu").predict(VIDEO)


def test_predict_gives_what_detect_writes(result, tmp_path: Path, run) -> None:
    words = ("--checkpoint", CHECKPOINT, "--out", tmp_path / "a", "--tables-only")
    done = run("detect", VIDEO, *words)
    assert done.returncode == 0, done.stderr
    saved = result.save(tmp_path / "b")
    for path in (tmp_path / "a").glob("*.parquet"):
        assert saved[path.stem] == tmp_path / "b" / path.name
        ours, theirs = actiontubes.read(saved[path.stem]), actiontubes.read(path)
        assert type(ours) is type(theirs)
        for column, value in vars(theirs).items():
            np.testing.assert_array_equal(getattr(ours, column), value, err_msg=column)
    assert len(result.to_df("tubes")) == len(result.tubes) > 0
    assert result.plot().axes
    pages = [folder / "index.html" for folder in (tmp_path / "a", tmp_path / "b")]
    assert saved["page"] == pages[1]
    ours, theirs = (page.read_text(encoding="utf-8") for page in pages)
    assert ours == theirs and VIDEO.name in ours


def test_frames_in_memory_are_a_video(result) -> None:
    detector = actiontubes.load(CHECKPOINT, device="cpu")
    frames = np.stack(list(read_video(VIDEO)))
    fps = float(result.videos.fps[0])
    for given in (frames, iter(frames)):
        other = detector.predict(given, fps=fps)
        np.testing.assert_array_equal(other.tubes.boxes, result.tubes.boxes)
        np.testing.assert_array_equal(other.tubes.tube_score, result.tubes.tube_score)


def test_tables_go_from_hand_to_hand(result, tmp_path: Path) -> None:
    tubes = actiontubes.link(result.detections, "act")
    path = actiontubes.write(tubes, tmp_path / "tubes.csv")
    again = actiontubes.read(path)
    assert isinstance(again, actiontubes.Tubes)
    np.testing.assert_array_equal(again.boxes, tubes.boxes)
    truth = FILES / "data" / "groundtruth.parquet"
    by_path = actiontubes.evaluate(truth, tubes=path, videos=None)
    by_table = actiontubes.evaluate(actiontubes.read(truth, "ground-truth"), tubes=again)
    assert by_path.video_map[0.5] == by_table.video_map[0.5]
