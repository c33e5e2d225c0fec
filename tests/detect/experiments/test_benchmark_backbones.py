"""`actiontubes benchmark backbones`: every network is timed, and computes what it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from actiontubes.detect.inference.device import has_native_bfloat16
from actiontubes.tools.main import main


@pytest.mark.parametrize("train", [False, True])
def test_rows(train: bool, tmp_path: Path, capsys) -> None:
    """torchvision's S3D and ours differ by rounding only, with fixed and with trained norms."""
    file = tmp_path / "rows.json"
    words = ["benchmark", "backbones", "--backbones", "s3d", "i2d", "--endpoint", "Mixed_3b",
             "--frames", "8", "--height", "32", "--width", "48", "--repeats", "2", "--threads", "1",
             "--json", str(file)]  # fmt: skip
    assert main([*words, *["--train"] * train]) == 0
    rows = {row["name"]: row for row in json.loads(file.read_text())}
    mixed = ["s3d, bfloat16", "i2d, bfloat16"] if train and has_native_bfloat16("cpu") else []
    assert list(rows) == ["torchvision s3d", "s3d", "i2d", *mixed]
    table = capsys.readouterr().out
    for name, row in rows.items():
        assert name in table
        assert row["clips_per_second"] == pytest.approx(1 / row["seconds"])
        assert (row["difference"] is None) == (name != "s3d")
    assert rows["torchvision s3d"]["ratio"] == 1
    assert rows["s3d"]["difference"] < 1e-4
