"""Files that name the classes of numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from actiontubes.datasets.class_list import ClassList, expand_labels, read_class_list
from actiontubes.datasets.errors import InputError


@pytest.mark.parametrize(
    ("name", "text", "names", "numbers"),
    [
        ("a.txt", "bend\njump \n\nwalk\n", ("bend", "jump", "walk"), None),
        ("a.txt", "\ufeffbend\r\njump\r\n", ("bend", "jump"), None),
        ("a.names", "bend\njump\n", ("bend", "jump"), None),
        ("classInd.txt", "2 jump\n1 pick up\n", ("pick up", "jump"), (1, 2)),
        ("a.csv", "bend\njump\n", ("bend", "jump"), None),
        ("a.csv", "id,name\n1,bend\n12,jump\n", ("bend", "jump"), (1, 12)),
        ("a.csv", "0,bend\n1,jump\n", ("bend", "jump"), (0, 1)),
        ("a.csv", 'name,group,id\n"bend, low",x,7\njump,y,3\n', ("jump", "bend, low"), (3, 7)),
        ("a.yaml", "nc: 2\nnames: [bend, jump]\n", ("bend", "jump"), None),
        ("a.yml", "names:\n  0: bend\n  1: jump\n", ("bend", "jump"), (0, 1)),
        ("a.json", '["bend", "jump"]', ("bend", "jump"), None),
        ("a.json", '{"1": "bend", "2": "jump"}', ("bend", "jump"), (1, 2)),
        ("a.json", '{"jump": 2, "bend": 1}', ("bend", "jump"), (1, 2)),
        ("a.json", '{"categories": [{"id": 5, "name": "x"}]}', ("x",), (5,)),
        (
            "ava.pbtxt",
            'item {\n  name: "bend/bow"\n  id: 1\n}\nlabel { name: "jump" label_id: 3 }',
            ("bend/bow", "jump"),
            (1, 3),
        ),
    ],
)
def test_layouts(
    tmp_path: Path, name: str, text: str, names: tuple[str, ...], numbers: tuple[int, ...] | None
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    classes = read_class_list(path)
    assert (classes.names, classes.numbers, classes.source) == (names, numbers, str(path))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "has no classes"),
        ("a.txt", "bend\njump\nBend \n", "class bend stands there twice"),
        ("a.csv", "1,bend\n1,jump\n", "number 1 stands there twice"),
        ("a.csv", "bend,low\njump,high\n", "cannot be read as a list of classes"),
        ("a.json", '{"bend": "x"}', "cannot be read as a list of classes"),
        ("a.json", "3", "cannot be read as a list of classes"),
        ("a.json", "[1, 2]", "cannot be read as a list of classes"),
        ("a.json", '[{"id": Infinity, "name": "bend"}]', "cannot be read as a list of classes"),
        ("a.json", '{"bend": 1.5}', "cannot be read as a list of classes"),
        ("a.json", "{", "cannot be read as a list of classes"),
        ("a.yaml", "a: [", "cannot be read as a list of classes"),
        ("a.yaml", "names: 3", "cannot be read as a list of classes"),
        ("a.pbtxt", 'item { name: "bend" }', "cannot be read as a list of classes"),
        ("a.json", '["bend", ""]', "has an empty name"),
    ],
)
def test_what_is_no_list(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_class_list(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match="file not found"):
        read_class_list(tmp_path / "none.txt")


def test_order_and_numbers() -> None:
    assert ClassList(("a", "b")).in_order() == ("a", "b")
    assert ClassList(("a", "b"), (1, 2)).in_order() == ("a", "b")
    assert ClassList(("a", "b"), (0, 1)).by_number() == {0: "a", 1: "b"}
    assert ClassList(("a", "b")).by_number() == {0: "a", 1: "b"}
    with pytest.raises(InputError, match="must be all from 0 or 1 on"):
        ClassList(("a", "b"), (1, 3)).in_order()


def test_the_words_of_labels_or_a_file_of_them(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("sit\n\nrun\n")
    (tmp_path / "ids.csv").write_text("7,run\n3,sit\n")
    assert expand_labels(None) is None
    assert expand_labels(["run"]) == ("run",) and expand_labels(["b", "a"]) == ("b", "a")
    assert expand_labels([str(tmp_path / "labels.txt")]) == ("sit", "run")
    assert expand_labels([str(tmp_path / "ids.csv")]) == ("sit", "run"), "by their numbers"
    with pytest.raises(InputError, match=r"--labels classes.TXT: file not found; it should list"):
        expand_labels(["classes.TXT"])
