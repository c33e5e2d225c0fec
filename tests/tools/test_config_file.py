"""YAML files of --config that are damaged, or that mean harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.tools.arguments import parse_arguments
from actiontubes.tools.config_file import check_config
from actiontubes.tools.train import train

LAUGHS = b"a: &a0 [x]\n" + b"".join(
    b"k%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("batch: 3".encode("utf-16"), "is UTF-16; save the file as UTF-8"),
        ("labels: [é]".encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
        (b"labels: [\0]", "NUL"),
        (LAUGHS, "repeats its values too often"),
        (b"labels: " + b"[" * 20_000 + b"]" * 20_000, "too deep in each other"),
        (b"labels: &a [*a]", "too deep in each other"),
        (b"batch: 1\nseed: 0\nbatch: 2\n", "line 3: batch stands in line 1, too; keep one"),
        (b"batch: [1", "is not valid YAML"),
        (b"# " + b"x" * (1 << 20), "too large to be a file of options"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        check_config(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbfbatch: 3", b"x: &x [1, 2]\ny: *x\n", b"3"])
def test_what_is_yaml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    check_config(path)


def parse(path: Path) -> dict:
    return parse_arguments(train, "train", ["--data", "x", "--out", "y", "--config", str(path)])


@pytest.mark.parametrize(
    "content", [b"batch: " + b"9" * 5000, b"labels: [[" + b"x, " * 2000 + b"y]]", b"- 3", b"x: 1"]
)
def test_options_that_cannot_be_used_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        parse(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_byte_order_mark_in_front_of_options(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfsteps: 7\n")
    assert parse(path)["schedule"].steps == 7
