"""Files written whole or not at all, and pickles that can hold data alone."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import stat
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.storage import safe_pickle
from actiontubes.datasets.storage.files import (
    atomic_write,
    delete_abandoned,
    load_pickle,
    write_json,
)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_whole_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    for content in ("first", "second"):
        with atomic_write(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == ".csv"
            temporary.write_text(content)
            assert content == "first" or path.read_text() == "first"
        assert path.read_text() == content
    assert names(path.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ValueError])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").mkdir()
    with (
        pytest.raises(InputError, match=r"table\.csv: is a folder; name a file"),
        atomic_write(tmp_path / "table.csv"),
    ):
        pytest.fail("nothing is begun")
    assert names(tmp_path) == ["table.csv"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for link in ("link.csv", "second.csv"):
        (tmp_path / link).symlink_to(tmp_path / "elsewhere" / "table.csv")
    for name in ("link.csv", "second.csv"):  # to nothing, then to a file
        with atomic_write(tmp_path / name) as temporary:
            temporary.write_text(name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "elsewhere" / "table.csv").read_text() == name
    assert names(tmp_path / "elsewhere") == ["table.csv"]


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes are POSIX's")
def test_devices_and_pipes_are_written_to_and_stay(tmp_path: Path) -> None:
    write_json([1], Path(os.devnull))
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    with pytest.raises(OSError, match="No space left") as error:
        write_json([1], Path("/dev/full"))
    assert error.value.filename == "/dev/full"
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        write_json([2], tmp_path / "pipe")
        assert reader.communicate()[0] == b"[\n 2\n]"
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_standard_output_as_a_file(tmp_path: Path) -> None:
    """Redirected to a file, it is not replaced: what is printed before and after is there, too."""
    code = (
        "from pathlib import Path; from actiontubes.datasets.storage.files import write_json\n"
        "print('before', flush=True); write_json([3], Path('/dev/stdout')); print('after')"
    )
    with (tmp_path / "out.txt").open("a") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out.txt").read_text() == "before\n[\n 3\n]after\n"


def test_files_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from actiontubes.datasets.storage.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as temporary:\n"
        "    print('begun', flush=True); sys.stdin.read()"
    )

    def start() -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "table.csv"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        return process

    dead = start()
    dead.kill()
    dead.wait()
    [leftover] = names(tmp_path)
    alive = start()
    assert len(names(tmp_path)) == 1 and names(tmp_path) != [leftover]
    delete_abandoned(tmp_path)
    assert len(names(tmp_path)) == 1, "of a process that lives"
    alive.communicate("")
    assert alive.returncode == 0 and names(tmp_path) == ["table.csv"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_others_may_read_what_they_may_read_otherwise(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "ours") as temporary:
        temporary.write_text("content")
    (tmp_path / "plain").write_text("content")
    ours, plain = ((tmp_path / name).stat().st_mode for name in ("ours", "plain"))
    assert stat.S_IMODE(ours) == stat.S_IMODE(plain)


def test_json_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    write_json({"a": [1, None, "é"]}, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == {"a": [1, None, "é"]}
    with pytest.raises(TypeError):
        write_json({"a": object()}, tmp_path / "other.json")
    assert names(tmp_path) == ["out.json"]


ARRAYS = [
    np.arange(24).reshape(2, 3, 4),
    np.arange(6.0).reshape(2, 3).T,
    np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    np.arange(5, dtype="u1")[::2],
    np.arange(3, dtype=">i2"),
    np.zeros((0, 5), np.float32),
    np.array(3.5),
    np.array([True, False]),
    np.array(["walk", "zoë"]),
    np.array([b"walk", b"run"]),
    np.array([1 + 2j], np.complex64),
    np.ones(3, np.float16),
    np.array([None, "x", 3], dtype=object),
    np.float32(2.5),
    np.int64(-3),
    np.bool_(True),
    np.str_("x"),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_read_as_pickle_reads_them(tmp_path: Path, protocol: int) -> None:
    plain = [None, True, 3, 10**30, -2.5, "é", b"", b"\xff", (1, [2]), {"k": {3}},
             frozenset({1}), OrderedDict(b=1, a=2)]  # fmt: skip
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps({"plain": plain, "arrays": ARRAYS}, protocol))
    ours, theirs = load_pickle(path), pickle.loads(path.read_bytes())
    assert ours["plain"] == theirs["plain"] == plain
    assert list(map(type, ours["plain"])) == [*map(type, plain[:-1]), dict]
    for a, b in zip(ours["arrays"], theirs["arrays"], strict=True):
        assert isinstance(a, np.ndarray | np.generic) and a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_arrays_behave_as_arrays(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(np.arange(4.0)))
    array = load_pickle(path)
    array[0] = 9
    for again in (copy.deepcopy(array), pickle.loads(pickle.dumps(array)), array.copy()):
        assert again.tolist() == [9, 1, 2, 3]
    assert type(pickle.loads(pickle.dumps(array))) is np.ndarray


def test_python_2_pickles(tmp_path: Path) -> None:
    """Text and array data were one type there, and NumPy's modules had their old names."""
    path = tmp_path / "old.pkl"
    path.write_bytes(
        b"(dp0\nS'caf\\xe9'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n"
        b"(I0\ntp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'i2'\np10\nI0\nI1\n"
        b"tp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'\\x01\\x00\\xff\\xff'\np15\n"
        b"tp16\nbs."
    )
    content = load_pickle(path)
    assert list(content) == ["café"]
    assert content["café"].dtype == np.int16 and content["café"].tolist() == [1, -1]


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "data.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_pickle(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


class Asks:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_no_code_runs(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    for function, *arguments in [
        (os.system, f"touch {made}"),
        (open, str(made), "w"),
        (eval, f"open({str(made)!r}, 'w')"),
        (np.ndarray.tofile, np.zeros(1), str(made)),
        (np.save, str(made), np.zeros(1)),
        (getattr, "text", "upper"),
    ]:
        content = pickle.dumps([Asks(function, *arguments)], protocol)
        message = refusal(tmp_path, content)
        assert message.startswith("refused for safety (it would import ")
        assert message.endswith("only plain containers and NumPy arrays are read from pickles")
        assert names(tmp_path) == ["data.pkl"]


@pytest.mark.parametrize("name", ["load", "core.multiarray.scalar", "ndarray.tofile", "dtype.type"])
def test_only_the_names_that_numpy_writes(tmp_path: Path, name: str) -> None:
    # Protocol 4 looks dots in a name up one by one.
    content = b"\x80\x04\x8c\x05numpy\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    assert refusal(tmp_path, content).startswith(
        f"refused for safety (it would import numpy.{name});"
    )


def array_pickle(shape: bytes, kind: bytes, state: bytes, data: bytes) -> bytes:
    """An array of protocol 0 with the parts of its state written out."""
    return (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntV\ntR"
        b"(I1\n" + shape + b"cnumpy\ndtype\n(V" + kind + b"\nI0\nI1\ntR" + state + b"I00\n" + data
        + b"tb."
    )  # fmt: skip


PLAIN = b"(I3\nV<\nNNNI-1\nI-1\nI0\ntb"


@pytest.mark.parametrize(
    ("shape", "kind", "state", "data", "message"),
    [
        (b"(I9\nt", b"i4", PLAIN, b"Vabcd\n", "an array of shape (9,) with other contents"),
        (b"(I-1\nI-1\nt", b"i4", PLAIN, b"Vabcd\n", "an array of shape (-1, -1) with other"),
        (b"(I1\nt", b"O8", PLAIN, b"Vabcdefgh\n", "an array of shape (1,) with other contents"),
        (b"(I2\nt", b"O8", PLAIN, b"(I1\nl", "an array of shape (2,) with other contents"),
        (b"(I1\nt", b"i4", PLAIN, b"(I1\nl", "cannot be read as a pickle"),
        (
            b"(I1\nt",
            b"m8",
            PLAIN,
            b"Vabcdefgh\n",
            "refused for safety (it contains arrays of type m8",
        ),
        (
            b"(I1\nt",
            b"V8",
            PLAIN,
            b"Vabcdefgh\n",
            "refused for safety (it contains arrays of type V8",
        ),
        (
            b"(I1\nt",
            b"i4,O",
            PLAIN,
            b"Vabcd\n",
            "refused for safety (it contains arrays of type i4,O",
        ),
        (b"(I1\nt", b"i4", b"(I3\nV<\nN(Va\ntNI4\nI4\nI0\ntb", b"Vabcd\n", "structured arrays"),
        (b"Vab\n", b"i4", PLAIN, b"Vabcd\n", "cannot be read as a pickle"),
    ],
)
def test_arrays_that_contradict_themselves(
    tmp_path: Path, shape: bytes, kind: bytes, state: bytes, data: bytes, message: str
) -> None:
    good = tmp_path / "good.pkl"
    good.write_bytes(array_pickle(b"(I1\nt", b"i4", PLAIN, b"V\\u0001\\u0000\\u0000\\u0000\n"))
    assert load_pickle(good).tolist() == [1]
    assert message in refusal(tmp_path, array_pickle(shape, kind, state, data))


def test_a_pickle_cannot_change_the_reader(tmp_path: Path) -> None:
    """BUILD sets attributes of whatever stands on the stack: of nothing that outlives the load."""
    for name in (b"cnumpy\ndtype\n", b"ccollections\nOrderedDict\n", b"c_codecs\nencode\n"):
        # (None, {"__defaults__": (1,), "__init__": 1}): state of slots, set by setattr.
        for attribute in (b"__defaults__", b"__init__", b"__doc__", b"__self__"):
            refusal(tmp_path, name + b"(N(V" + attribute + b"\n(I1\ntdtb.")
    path = tmp_path / "good.pkl"
    path.write_bytes(pickle.dumps([np.arange(3), OrderedDict(a=1)], 2))
    assert load_pickle(path)[1] == {"a": 1}


HUGE = (1 << 40).to_bytes(8, "little")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # the memo's last place
        b"\x80\x04\x8d" + HUGE + b"x.",
        b"\x80\x05\x96" + HUGE + b"x.",
        b"\x80\x04\x95" + HUGE + b"N.",
        b"cbuiltins\nbytes\n(I1000000000000\ntR.",
    ],
)
def test_a_small_pickle_gets_little_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(content)
    tracemalloc.start()
    with contextlib.suppress(InputError):
        load_pickle(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"(%bt", b"%b", b"N%b0"])
def test_containers_of_a_byte_are_counted(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_pickle, "_MAX_CONTAINERS", 1000)
    for opcode in (b"]", b"}", b"\x8f", b"("):
        made = b"\x80\x04" + content.replace(b"%b", opcode * 2000) + b"."
        assert "far more memory than its size" in refusal(tmp_path, made)


def test_what_a_pickle_repeats_is_counted(tmp_path: Path) -> None:
    ten: Any = [1.0]
    for _ in range(12):
        ten = [ten] * 10
    assert "repeats its objects too often" in refusal(tmp_path, pickle.dumps(ten, 2))
    texts = ["x" * 1_000_000] * 2000
    assert "repeats its objects too often" in refusal(tmp_path, pickle.dumps(texts, 2))
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    assert "too deep in each other" in refusal(tmp_path, pickle.dumps(deep, 2))
    endless: list = []
    endless.append(endless)
    assert "too deep in each other" in refusal(tmp_path, pickle.dumps(endless, 2))
    pair: Any = ()
    for _ in range(60):  # the hash of this takes 2 ** 60 steps
        pair = (pair, pair)
    for opcode in (b"}%bNs", b"(%bNd", b"}(%bNu", b"\x8f(%b\x90", b"(%b\x91"):
        content = opcode.replace(b"%b", pickle.dumps(pair, 2)[2:-1]) + b"."
        assert "has tuple as a key" in refusal(tmp_path, content)
    # Arrays and texts of one memory: the data stand in the file once.
    data = b"\x80\x02X" + (1 << 20).to_bytes(4, "little") + b"x" * (1 << 20) + b"q\x000"
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    assert "far more memory" in refusal(tmp_path, data + b"(" + again * 1100 + b"t.")


@pytest.mark.parametrize("content", [b"", b"text, no pickle", b"\x80\x04\x95", b"0", b"."])
def test_damage(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path, content).startswith("cannot be read as a pickle (")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_random_damage(tmp_path: Path, protocol: int) -> None:
    """No damage ends in anything but data or one line; NumPy's own reader dies of some of it."""
    whole = pickle.dumps({"a": ARRAYS[:8], "b": [1, "x"]}, protocol)
    numbers, path = np.random.default_rng(protocol), tmp_path / "data.pkl"
    for _ in range(300):
        damaged = bytearray(whole[: numbers.integers(len(whole) // 2, len(whole))])
        for place in numbers.integers(len(damaged), size=3):
            damaged[place] = numbers.integers(256)
        path.write_bytes(damaged)
        try:
            load_pickle(path)
        except InputError as error:
            assert "\n" not in str(error)


def test_a_single_value(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    for value in (None, 3, "x"):
        path.write_bytes(pickle.dumps(value))
        assert load_pickle(path) == value


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_pickle(tmp_path / "absent.pkl")


def test_real_pickles(shared) -> None:
    for name in ("ucf101-24/pyannot.pkl", "jhmdb/JHMDB-GT.pkl"):
        path = shared(name)
        ours, theirs = load_pickle(path), pickle.loads(path.read_bytes(), encoding="latin1")
        assert_equal(ours, theirs)


def assert_equal(a: Any, b: Any) -> None:
    if isinstance(b, dict):
        assert list(a) == list(b)
        for key in b:
            assert_equal(a[key], b[key])
    elif isinstance(b, list | tuple):
        assert type(a) is type(b) and len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    elif isinstance(b, np.ndarray):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    else:
        assert a == b and type(a) is type(b)
