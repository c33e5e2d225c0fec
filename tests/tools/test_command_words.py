"""Names of files in any bytes pass through the command line; so do those that look like options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from actiontubes.tools.arguments import parse_arguments
from actiontubes.tools.command_words import protect_words, restore_words
from actiontubes.tools.detect import detect
from actiontubes.tools.live import live
from actiontubes.tools.output_streams import lasting_output
from hypothesis import given
from hypothesis import strategies as st


@given(name=st.binary(min_size=1, max_size=8).filter(lambda name: b"\0" not in name))
def test_any_bytes_come_back(name: bytes) -> None:
    word = os.fsdecode(name)
    [protected] = protect_words([word], [])
    assert protected.encode().decode() == protected
    value = {"a": [protected, 1], "b": Path(protected), "c": None, "d": (True, protected)}
    expected = {"a": [word, 1], "b": Path(word), "c": None, "d": (True, word)}
    assert restore_words(value) == expected


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"#2 take.mp4", b"[a] b: c.mp4", b"-walk.mp4"])
def test_names_of_videos_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    path.touch()
    options = parse_arguments(detect, "detect", [str(path), "b.mp4", "--checkpoint", str(path)])
    assert options["videos"] == [path, Path("b.mp4")]
    assert options["checkpoint"] == path


def test_an_option_of_several_values_may_be_given_again() -> None:
    words = ["0", "--zone", "a=1,2,3,4", "--port", "1", "--zone", "b=1,2,3,4", "c=1,2,3,4"]
    options = parse_arguments(live, "live", words)
    assert options["source"] == ["0"] and options["port"] == 1
    assert options["zone"] == ["a=1,2,3,4", "b=1,2,3,4", "c=1,2,3,4"]


def test_options_stay_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "--trail").touch()
    assert parse_arguments(detect, "detect", ["a.mp4", "--trail"])["trail"]


def test_what_a_terminal_lacks_is_escaped(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with lasting_output():
        print("caf\udce9")
        print("caf\udce9 \N{SNOWMAN}", file=sys.stderr)
    written = capsysbinary.readouterr()
    assert written.out == b"caf\\udce9\n"
    assert written.err == "caf\\udce9 \N{SNOWMAN}\n".encode()


@pytest.mark.skipif(sys.platform == "win32", reason="names are Unicode there")
def test_a_locale_without_utf8(tmp_path: Path) -> None:
    (tmp_path / "läufer.mp4").write_bytes(b"no video")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment.pop("PYTHONIOENCODING", None)
    done = subprocess.run(
        [sys.executable, "-m", "actiontubes.tools.main", "flow", "läufer.mp4"],
        cwd=tmp_path, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.decode().startswith("actiontubes flow: läufer.mp4: cannot be opened as")
