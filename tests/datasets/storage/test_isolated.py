"""What ends a reader in a process of its own is one line here, and the next file is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.storage import isolated
from actiontubes.datasets.storage.isolated import isolated_reader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program reads.read of a path, by its name."""
    (tmp_path / "reads.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    import reads  # type: ignore[import-not-found]

    with isolated_reader(reads.read) as call:
        yield call
    del sys.modules["reads"]


PROGRAM = """
import ctypes, os, signal
import numpy as np
from actiontubes.datasets.errors import InputError

def read(path, times=1, *, more=0):
    name = path.name
    print("not an answer", flush=True)
    if name == "crash":
        ctypes.string_at(0)
    if name == "memory":
        np.ones(1 << 28)  # two gigabytes
    if name == "slow":
        signal.raise_signal(signal.SIGALRM)
    if name == "leave":
        os._exit(3)
    if name == "refuse":
        raise InputError(f"{path}: no")
    return {"pid": os.getpid(), "values": np.arange(3) * times + more, "name": name}
"""


def test_values_come_from_one_other_process(read: Any) -> None:
    first, second = read(Path("a")), read(Path("b"), 2, more=1)
    assert first["pid"] == second["pid"] != os.getpid()
    np.testing.assert_array_equal(second["values"], [1, 3, 5])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("crash", "crash: is damaged: reading it ended the reader (SIGSEGV); download it again"),
        ("slow", "slow: is damaged: reading it took too long; download it again"),
        ("leave", "leave: is damaged: reading it ended the reader (code 3); download it again"),
        ("refuse", "refuse: no"),
        ("memory", "memory: is damaged: reading it takes too much memory; download it again"),
    ],
)
def test_the_next_file_is_read(read: Any, name: str, says: str) -> None:
    before = read(Path("a"))["pid"]
    with pytest.raises(InputError) as caught:
        read(Path(name))
    assert str(caught.value) == says
    assert (read(Path("b"))["pid"] == before) == (name in ("refuse", "memory"))


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    """The process does not run the user's program again, as multiprocessing would."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from actiontubes.datasets.formats.matlab import load_matlab\n"
        "print('once')\n"
        "try:\n    load_matlab(Path('absent.mat'), 'x')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "once\nabsent.mat: file not found\n"


def test_ctrl_c_is_for_the_program(read: Any) -> None:
    pid = read(Path("a"))["pid"]
    os.kill(pid, signal.SIGINT)
    assert read(Path("b"))["pid"] == pid


def test_time_and_memory_are_for_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    isolated._limit(1 << 40, 1000)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] > 1 << 40
    isolated._limit(None, 0)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert signal.alarm(0) == 0
