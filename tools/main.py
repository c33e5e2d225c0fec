"""The console command `actiontubes`: a function of the tools folder becomes a sub-command."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ..datasets.errors import InputError, choose_from, error_line
from .output_streams import lasting_output

# One line each, so that `actiontubes --help` imports none of them.
COMMANDS = {
    "demo": "no download, no data: make a small data set, train, evaluate and draw",
    "detect": "find action tubes in videos; writes tables and drawn videos",
    "live": "detect actions in a camera or stream, shown in a browser or written to files",
    "train": "train a detector on JHMDB, UCF101-24 or your own videos",
    "classify": "train or test a video classifier",
    "study": "the paper's study: accuracy against cost, over networks, seeds and streams",
    "visualize": "draw tubes into a video",
    "evaluate": "frame-mAP and video-mAP of detections and tubes",
    "link": "link detections into tubes",
    "convert": "annotations and tubes from one format into another: CVAT, MOT, COCO, AVA, ...",
    "flow": "compute videos' optical flow once, and draw it",
    "prepare": "convert the official downloads of a data set into tables",
    "models": "list the backbones with their parameters and multiply-adds",
    "benchmark": "measure the speed of the backbones, the detector or the evaluation",
    "export": "write a trained detector as ONNX or for torch.export",
    "weights": "list, download or locate pretrained weights",
}
_OVERVIEW = """usage: actiontubes COMMAND ...

Who does what, where and when in video: spatio-temporal action detection.

{commands}

`actiontubes COMMAND --help` explains a command. Every option can also stand in a
YAML file given with --config; --debug shows the traceback of an error; `actiontubes
--version` names the release."""
_LONG = ("demo", "train", "classify", "study")  # they share a machine for minutes and hours


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code: 0, or 2 after an error the user can mend."""
    if arguments is None:
        _restart_in_utf8()
    with lasting_output() as output:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        output.flush()
        if output.error is not None and code == 0:
            code = 2
            _say(f"actiontubes: standard output: {output.error.strerror}; files are complete")
    return code


def _restart_in_utf8() -> None:
    """Runs this command in Python's UTF-8 mode where the locale gives names another encoding.

    Otherwise names of files, such as in an ASCII locale, could not be written into tables.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        words = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, words, {**os.environ, "PYTHONUTF8": "1"})


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"actiontubes {version('actiontubes')}")
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        instead = choose_from(command, COMMANDS, len(COMMANDS))
        print(f"actiontubes: unknown command {command}; {instead}", file=sys.stderr)
        return 2
    from .arguments import parse_arguments

    warnings.showwarning = _one_line_warning
    if command in _LONG:
        # Threads that spin while they wait make a step beside another busy process take five times
        # as long, and a tenth less alone; torch's OpenMP reads this once, when it is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        function = getattr(import_module(f".{command}", __package__), command)
        return function(**parse_arguments(function, command, arguments[1:])) or 0
    except KeyboardInterrupt as error:
        _say(f"actiontubes: {str(error) or 'stopped by Ctrl-C'}")
        return 130
    except (InputError, OSError) as error:
        if debug:
            raise
        _say(f"actiontubes {command}: {error_line(error)}")
        return 2


def _say(line: str) -> None:
    """Writes a last line to stderr, not behind a progress bar that an error left there."""
    for bar in _bars():
        bar.close()
    print(line, file=sys.stderr)


def _bars() -> list[Any]:
    """The progress bars that stand on the screen, or soon will."""
    return list(sys.modules["tqdm"].tqdm._instances) if "tqdm" in sys.modules else []


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{summary}" for name, summary in COMMANDS.items()]
    return _OVERVIEW.format(commands="\n".join(lines))


def _one_line_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    for bar in _bars():
        bar.clear()  # it comes back with its next step
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
