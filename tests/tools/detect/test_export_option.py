"""`detect --export` writes a file for each video beside the tables."""

from __future__ import annotations

from pathlib import Path


def test_export(command, trained: Path, figures: Path, tmp_path: Path) -> None:
    videos = sorted(figures.rglob("*.mp4"))[:2]
    words = ("--checkpoint", trained / "detector.safetensors", "--out", tmp_path / "out")
    done = command("detect", *videos, *words, "--tables-only", "--export", "cvat,coco",
                   "--threshold", 0, "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    names = {path.name for path in (tmp_path / "out").rglob("*")}
    assert "coco.json" in names
    assert sum(name.endswith(".cvat.xml") for name in names) == 2
    done = command("detect", *videos, *words, "--export", "cvatt")
    assert done.code == 2
    assert done.err[-1].startswith("actiontubes detect: --export cvatt: unknown")
