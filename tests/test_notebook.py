"""The notebook of the first ten minutes runs, with few and short steps."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first_ten_minutes.ipynb"


@pytest.mark.slow  # 20 s: a kernel starts, and two commands each import torch
def test_the_first_ten_minutes(tmp_path: Path, monkeypatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient: pip install -e '.[test]'")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install -e '.[test]'")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    [settings] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert settings.source.startswith("TRAIN_VIDEOS, TEST_VIDEOS, STEPS = 64, 16, 340")
    settings.source = "TRAIN_VIDEOS, TEST_VIDEOS, STEPS = 2, 1, 1"
    short = "--device cpu --batch 1 --width 0.125 --calibration-videos 0 --calibration-folds 0"
    for cell in notebook.cells:
        cell.source = cell.source.replace("--device cpu", short)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3",
                                     resources=resources)  # fmt: skip
    client.execute()
    assert not [cell for cell in notebook.cells if cell.get("outputs") and _is_error(cell)]
    for name in ("figures/groundtruth.parquet", "trained/detector.safetensors",
                 "tubes/index.html", "tubes/test_000.tubes.mp4"):  # fmt: skip
        assert (tmp_path / name).is_file(), name
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", [])
             for kind in output.get("data", {})]  # fmt: skip
    assert kinds.count("image/png") == 2 and kinds.count("text/html") >= 3


def _is_error(cell) -> bool:
    """Whether a command of the cell ended in an error, which stops no notebook."""
    text = "".join(output.get("text", "") for output in cell.outputs)
    return "Traceback" in text or "actiontubes train: " in text or "actiontubes detect: " in text
