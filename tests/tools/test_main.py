"""The command line's own rules, on a command made up for the purpose."""

from __future__ import annotations

import subprocess
import sys
import types
import warnings
from dataclasses import dataclass, make_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.options import Options, at_least, between
from actiontubes.tools.arguments import Omit, parse_arguments
from actiontubes.tools.main import COMMANDS, main

calls: list[dict[str, Any]] = []
DEFAULTS = {"kind": "round", "share": 0.5, "count": None, "label_names": None, "dry_run": False}


def made_up(
    videos: list[Path],
    *,
    out: Path,
    kind: Literal["round", "square"] = "round",
    share: float = 0.5,
    count: int | None = None,
    label_names: list[str] | None = None,
    dry_run: bool = False,
) -> int | None:
    """Do nothing, in one line.

    And say so in another.

    Args:
        videos: Some files.
        out: Another file.
        kind: What shape.
        share: How much.
        count: How many.
        label_names: Which.
        dry_run: Do even less.
    """
    calls.append(locals().copy())
    if kind == "square":
        warnings.warn("it has\n  corners", stacklevel=2)
        raise InputError("no squares,\n please")
    if dry_run:
        raise FileNotFoundError(2, "No such file or directory", "gone.txt")
    return count


@pytest.fixture(autouse=True)
def command(monkeypatch) -> None:
    module = types.ModuleType("actiontubes.tools.made_up")
    vars(module)["made_up"] = made_up
    monkeypatch.setitem(sys.modules, "actiontubes.tools.made_up", module)
    monkeypatch.setitem(COMMANDS, "made_up", "nothing at all")
    calls.clear()


def test_types_of_the_signature_become_options() -> None:
    words = ["made_up", "a.mp4", "b.mp4", "--out", "c", "--kind", "round", "--share", "1",
             "--count", "3", "--label-names", "x", "y z"]  # fmt: skip
    assert main(words) == 3
    given = {"videos": [Path("a.mp4"), Path("b.mp4")], "out": Path("c"), "share": 1.0, "count": 3}
    assert calls == [{**DEFAULTS, **given, "label_names": ["x", "y z"]}]


def test_defaults() -> None:
    assert main(["made_up", "a.mp4", "--out", "c"]) == 0
    assert calls == [{**DEFAULTS, "videos": [Path("a.mp4")], "out": Path("c")}]


def test_options_from_a_file_which_the_command_line_overrides(tmp_path: Path) -> None:
    config = tmp_path / "options.yaml"
    config.write_text(
        "videos: [a.mp4, b.mp4]\nout: c\nshare: 0.25\nlabel_names: [x]\ndry-run: false\ncount: 2\n"
    )
    assert main(["made_up", "--config", str(config), "--count", "1"]) == 1
    given = {"videos": [Path("a.mp4"), Path("b.mp4")], "out": Path("c"), "share": 0.25, "count": 1}
    assert calls == [{**DEFAULTS, **given, "label_names": ["x"]}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.mp4"], "required: out"),
        (["--out", "c"], "required: videos"),
        (["a.mp4", "--out", "c", "--shape", "round"], "--shape"),
        (["a.mp4", "--out", "c", "--label", "x"], "--label"),  # no abbreviations
        (["a.mp4", "--out", "c", "--kind", "oval"], "oval"),
        (["a.mp4", "--out", "c", "--share", "half"], "half"),
        (["a.mp4", "--out", "c", "--count", "1.5"], "1.5"),
        (["a.mp4", "--out", "c", "--label-names"], "label-names"),
        (["a.mp4", "--out", "c", "--config", "absent.yaml"], "absent.yaml"),
        (["a.mp4", "--out", "c", "--dry-run"], "gone.txt: No such file or directory"),
    ],
)
def test_errors_are_one_line(capsys, words: list[str], message: str) -> None:
    assert main(["made_up", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("actiontubes made_up: ") and message in err
    assert err.count("\n") == 1


@dataclass(frozen=True, kw_only=True)
class Paint(Options):
    """What is painted on a shape.

    Attributes:
        color: Strength of the color.
        layers: Number of layers.
        corners: Two corners.
        shiny: Whether it shines.
        hidden: Not an option.
    """

    color: Annotated[float, between(0, 1)] = 0.5
    layers: Annotated[int, at_least(1)] = 1
    corners: tuple[int, int] = (3, 4)
    shiny: bool = True
    hidden: int = 7


def run_paint(record: type, *words: str) -> Any:
    """Parses the words for a command that has the record as one of its parameters."""

    def paint(*, out: Path = Path("x"), what: Any) -> None:
        """Paint.

        Args:
            out: A file.
        """

    paint.__annotations__["what"] = Annotated[record, Omit("hidden")]
    return parse_arguments(paint, "paint", list(words))["what"]


def test_fields_of_a_dataclass_are_options(tmp_path: Path) -> None:
    config = tmp_path / "paint.yaml"
    config.write_text("layers: 3\ncorners: [5, 6]\nno_shiny: true\n")
    assert run_paint(Paint) == Paint()
    assert run_paint(Paint, "--config", str(config), "--color", "1") == Paint(
        color=1.0, layers=3, corners=(5, 6), shiny=False
    )
    assert run_paint(Paint, "--corners", "1", "2", "--no-shiny").corners == (1, 2)
    for words, message in (
        ("--color 1.5", "--color 1.5: must be between 0 and 1"),
        ("--layers 0", "--layers 0: must be 1 or more"),
        ("--corners 1 2 3", "--corners: needs 2 numbers, not 3"),
        ("--hidden 3", "--hidden"),
    ):
        with pytest.raises(InputError, match=message):
            run_paint(Paint, *words.split())


def test_a_field_more_is_an_option_more(tmp_path: Path, capsys) -> None:
    """On the command line, in YAML and in the help, without another edit."""
    more = make_dataclass(
        "More", [("gloss", Annotated[int, at_least(2)], 2)], bases=(Paint,), frozen=True
    )
    more.__doc__ = f"{Paint.__doc__}    gloss: How it shines.\n"
    assert run_paint(more, "--gloss", "5").gloss == 5
    config = tmp_path / "more.yaml"
    config.write_text("gloss: 4\n")
    assert run_paint(more, "--config", str(config)).gloss == 4
    with pytest.raises(InputError, match="--gloss 1: must be 2 or more"):
        run_paint(more, "--gloss", "1")
    with pytest.raises(SystemExit):
        run_paint(more, "--help")
    assert "How it shines. (default: 2)" in " ".join(capsys.readouterr().out.split())


def test_old_words_are_accepted_but_not_shown(tmp_path: Path, capsys) -> None:
    config = tmp_path / "old.yaml"
    config.write_text("colour: 0.25\n")
    assert run_paint(Paint, "--colour", "0.75").color == 0.75
    assert run_paint(Paint, "--config", str(config)).color == 0.25
    with pytest.raises(SystemExit):
        run_paint(Paint, "--help")
    assert "colour" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("share: half", "half"),
        ("shares: 0.5", "shares"),
        ("dry_run: 3", "--dry-run: must be true or false, not 3"),
        ("label_names: x", "[a, b]"),
        ("kind: [round", "expected"),
        ("just words", "just words"),
    ],
)
def test_errors_in_a_file_are_one_line(capsys, tmp_path: Path, line: str, message: str) -> None:
    config = tmp_path / "options.yaml"
    config.write_text(line)
    assert main(["made_up", "a.mp4", "--out", "c", "--config", str(config)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("actiontubes made_up: ") and message in err
    assert err.count("\n") == 1
    assert calls == []


def test_warnings_and_messages_lose_their_line_breaks(capsys) -> None:
    assert main(["made_up", "a.mp4", "--out", "c", "--kind", "square"]) == 2
    assert capsys.readouterr().err == (
        "warning: it has corners\nactiontubes made_up: no squares, please\n"
    )


def test_debug_lets_errors_through(capsys) -> None:
    with pytest.raises(InputError):
        main(["made_up", "--debug", "a.mp4", "--out", "c", "--kind", "square"])


def test_stopped_by_the_user(capsys, monkeypatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("actiontubes.tools.arguments.parse_arguments", stop)
    assert main(["made_up"]) == 130
    assert capsys.readouterr().err == "actiontubes: stopped by Ctrl-C\n"


PRINTING = """
import sys, types
from actiontubes.tools import main
def printing():
    \"\"\"Print.\"\"\"
    for number in range(3):
        print(number, flush=True)
        if number == 0 and sys.argv[1] == "closed":
            sys.stdin.read()
    with open(sys.argv[2], "w") as file:
        file.write("done")
    print("end")
sys.modules["actiontubes.tools.printing"] = types.SimpleNamespace(printing=printing)
main.COMMANDS["printing"] = ""
sys.exit(main.main(["printing"]))
"""


def test_a_reader_that_leaves_does_not_stop_a_command(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTING, "closed", tmp_path / "file"], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.stdin is not None and process.stderr is not None
    process.stdin.close()
    assert process.stderr.read() == (
        "actiontubes: standard output: Broken pipe; files are complete\n"
    )
    assert process.wait() == 2 and (tmp_path / "file").read_text() == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_on_a_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-c", PRINTING, "full", tmp_path / "file"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
        alone = subprocess.run(words, stdout=full, stderr=full)
    assert (done.returncode, done.stderr) == (
        2, "actiontubes: standard output: No space left on device; files are complete\n"
    )  # fmt: skip
    assert alone.returncode == 2 and (tmp_path / "file").read_text() == "done"


def test_an_output_is_no_input(tmp_path: Path, capsys) -> None:
    table, link, other = tmp_path / "a.csv", tmp_path / "link.csv", tmp_path / "tubes.parquet"
    table.write_text("content")
    other.write_text("content")
    link.symlink_to(table)
    config = tmp_path / "options.yaml"
    config.write_text(f"videos: [{table}]\n")
    for words in (
        [table, "--out", table],
        [tmp_path / "b.csv", table, "--out", link],
        [link, "--out", tmp_path / ".." / tmp_path.name / "a.csv"],
        ["x", "--label-names", table, "--out", table],
        ["--config", config, "--out", table],
        ["x", "--config", config, "--out", config],
        [other, "--out", tmp_path],
    ):
        assert main(["made_up", *map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "--out" in err and "would replace" in err
    assert calls == [] and table.read_text() == other.read_text() == "content"
    assert main(["made_up", str(table), "--out", str(tmp_path)]) == 0


def test_help(capsys) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(name in overview and text in overview for name, text in COMMANDS.items())
    assert main([]) == 2
    with pytest.raises(SystemExit) as left:
        main(["made_up", "--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for piece in ("Do nothing, in one line.", "And say so", "--config", "--label-names", "Which.",
                  "--dry-run", "{round,square}", "default: 0.5)"):  # fmt: skip
        assert piece in text


def test_an_unknown_command_names_the_known(capsys) -> None:
    assert main(["detekt"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(
        "actiontubes: unknown command detekt; choose from demo, detect, live, train, "
    )
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"# none", b"- 3", b"3", "a: é".encode("utf-16")])
def test_a_recipe_without_options_is_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_bytes(content)
    assert main(["train", "--data", "x", "--out", "y", "--config", str(config)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and f"{config}: " in message


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    name, number = capsys.readouterr().out.split()
    assert name == "actiontubes" and number == version("actiontubes")
