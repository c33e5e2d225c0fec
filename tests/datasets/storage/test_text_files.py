"""Lists, CSV and JSON of other people: UTF-8, with or without a byte-order mark, or one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.storage import files
from actiontubes.datasets.storage.text_files import (
    MAX_LINE,
    check_encoding,
    parse_yaml,
    read_csv,
    read_json,
    read_lines,
    read_text,
)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file.txt"
    path.write_bytes(content)
    return path


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = written(tmp_path, "é,2\r\nb,3".encode("utf-8-sig"))
    assert read_text(path) == "é,2\nb,3"
    assert read_csv(path) == [["é", "2"], ["b", "3"]]
    assert read_json(written(tmp_path, b"\xef\xbb\xbf[1]")) == [1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("é".encode("utf-16"), "is UTF-16; save the file as UTF-8"),
        ("é".encode("utf-16-be").join([b"\xfe\xff", b""]), "is UTF-16"),
        ("é".encode("utf-32"), "is UTF-32"),
        ("video".encode("utf-16-le"), "NUL bytes"),
        ("a\nJosé".encode("cp1252"), "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"a\n" * 9000 + b"Jos\xe9", "line 9001: byte 0xe9"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = written(tmp_path, content)
    for read in (read_text, read_lines, read_csv, read_json):
        with pytest.raises(InputError, match=says) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_the_start_of_a_file_is_enough_to_see_utf_16(tmp_path: Path) -> None:
    check_encoding(written(tmp_path, "é".encode()))
    with pytest.raises(InputError, match="is UTF-16"):
        check_encoding(written(tmp_path, "é".encode("utf-16")))


def test_line_ends_of_every_system(tmp_path: Path) -> None:
    # A form feed or a line separator inside a name ends no line.
    assert read_lines(written(tmp_path, b"a\r\nb\rc\n\nd\x0ce\xe2\x80\xa8f")) == [
        "a", "b", "c", "", "d\x0ce\u2028f"
    ]  # fmt: skip
    assert read_lines(written(tmp_path, b"a\n")) == ["a"]
    assert read_lines(written(tmp_path, b"")) == []


def test_a_quoted_line_end_stays_in_its_field(tmp_path: Path) -> None:
    assert read_csv(written(tmp_path, b'"a\nb",c\n\nd')) == [["a\nb", "c"], [], ["d"]]


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"a\n" + b"," * (MAX_LINE + 1))
    for read in (read_lines, read_csv):
        with pytest.raises(InputError, match="line 2: has more than 1000000 characters"):
            read(path)
    with pytest.raises(InputError, match="row 2: not readable as CSV"):
        read_csv(written(tmp_path, b"a\n" + b"b" * 200_000))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 100_000, "too deep in each other"),
        (b'{"a":' * 100_000, "too deep in each other"),
        (b"[1,", "not valid JSON"),
        (b"9" * 5000, "not valid JSON"),
    ],
)
def test_damaged_json_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=says) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_json_that_takes_many_times_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "EXTRA_MEMORY", 1 << 20)
    results = [{"image_id": 1, "bbox": [1.5, 2.5, 3.5, 4.5], "score": 0.5}] * 30_000
    assert len(read_json(written(tmp_path, json.dumps(results).encode()))) == 30_000
    with pytest.raises(InputError, match=r"would take 0\.0 GB of memory; split it"):
        read_json(written(tmp_path, b"[" + b"[]," * 30_000 + b"[]]"))


LAUGHS = "a: &a0 [x]\n" + "".join(
    f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "repeats its values too often"),
        (f"a: &a {'x' * 10_000}\nb: [{', '.join(['*a'] * 2000)}]", "repeats its values too often"),
        ("labels: " + "[" * 20_000 + "]" * 20_000, "too deep in each other"),
        ("labels: &a [*a]", "too deep in each other"),
        ("batch: 1\nseed: 0\nbatch: 2\n", "line 3: batch stands in line 1, too; keep one"),
        ("names: {0: a, 0: b}", "line 1: 0 stands in line 1, too"),
        ("batch: [1", "is not valid YAML"),
        ("batch: " + "9" * 5000, "is not valid YAML"),
        ("day: 2001-99-99", "is not valid YAML"),
        ("# " + "x" * (1 << 18), "has 262146 characters"),
    ],
)
def test_what_yaml_must_not_be(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_yaml(text, "a.yaml")
    assert str(caught.value).startswith("a.yaml: ") and "\n" not in str(caught.value)


def test_yaml() -> None:
    assert parse_yaml("", "a.yaml") is None
    assert parse_yaml("x: &x [1, 2]\ny: *x\n", "a.yaml") == {"x": [1, 2], "y": [1, 2]}
