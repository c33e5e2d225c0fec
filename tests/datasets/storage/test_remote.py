"""Files at addresses: found, told apart, copied whole or refused; a server here is the web."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.storage import remote
from actiontubes.datasets.storage.remote import RemoteFile, as_address, find_remote_files

VIDEOS = (".mp4", ".avi")


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/short"):  # says more than it sends
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            return
        super().do_GET()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a folder's server, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    """fsspec's file system in memory."""
    memory = fsspec.filesystem("memory")
    for name in ("a/b.mp4", "a/c/d.AVI", "a/notes.md", "e.mp4"):
        memory.pipe(f"/bucket/{name}", name.encode())
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    "word, address",
    [
        ("https://host/a.mp4", "https://host/a.mp4"),
        (Path("S3://bucket/a b.mp4"), "s3://bucket/a b.mp4"),
        ("memory:/a.mp4", "memory://a.mp4"),
        ("a.mp4", None), ("C:/a.mp4", None), ("a/b:/c.mp4", None), ("clip: 1.mp4", None),
        ("https://", None),
    ],
)  # fmt: skip
def test_what_is_an_address(word: str | Path, address: str | None) -> None:
    assert as_address(word) == address


def test_an_existing_file_is_no_address(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take:").mkdir()
    (tmp_path / "take:" / "a.mp4").touch()
    assert as_address("take:/a.mp4") is None and as_address("take:/b.mp4") is not None


def test_folders_and_patterns(bucket) -> None:
    def found(address: str) -> list[str]:
        return [file.address for file in find_remote_files(address, VIDEOS)]

    below = ["memory:///bucket/a/b.mp4", "memory:///bucket/a/c/d.AVI"]
    assert found("memory://bucket/a") == found("memory://bucket/a/") == below
    assert found("memory://bucket/*/*.mp4") == below[:1]
    assert found("memory://bucket/e.mp4") == ["memory://bucket/e.mp4"]
    assert found("memory://bucket/nothing") == ["memory://bucket/nothing"]
    assert found("https://host/a.mp4?x=*") == ["https://host/a.mp4?x=*"], "nothing is asked"


def test_paths_and_words_for_messages() -> None:
    file = RemoteFile("https://me:secret@host/a%20b/../c%2F..%2Fd.mp4?signature=secret#t")
    assert file.shown == "https://host/a%20b/../c%2F..%2Fd.mp4"
    assert file.path == Path("host/a b/c/d.mp4"), "never above the folder it is copied into"
    assert RemoteFile("s3://bucket/a?.mp4").shown == "s3://bucket/a?.mp4"


def test_a_copy_from_memory(bucket, tmp_path: Path) -> None:
    file = RemoteFile("memory://bucket/a/b.mp4")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "left.mp4").touch()
    with file.download(tmp_path / "copy") as (path, state):
        assert path.read_bytes() == b"a/b.mp4" and path == tmp_path / "copy/bucket/a/b.mp4"
        assert state == file.state() and state[0] == 7
        assert not (tmp_path / "copy" / "left.mp4").exists()
    assert not (tmp_path / "copy").exists()
    bucket.pipe("/bucket/a/b.mp4", b"changed")
    assert file.state() != state, "the same size, another time"


def test_a_copy_from_the_web(web, tmp_path: Path) -> None:
    address, folder = web
    content = bytes(range(256)) * 20_000  # several blocks
    (folder / "a b.mp4").write_bytes(content)
    file = RemoteFile(f"{address}/a%20b.mp4?token=1")
    with file.download(tmp_path / "copy") as (path, state):
        assert path.read_bytes() == content and path.name == "a b.mp4"
        assert state[0] == len(content)


@pytest.mark.parametrize(
    "address, reason",
    [
        ("{web}/none.mp4?token=secret", "file not found"),
        ("{web}/short.mp4", "cannot be read"),
        ("memory://bucket/none.mp4", "file not found"),
        ("memory://bucket/a", "is a folder"),
        ("nowhere://a.mp4", "cannot be read .*nowhere"),
        ("http://127.0.0.1:9/a.mp4", "file not found|cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_copied(web, bucket, tmp_path: Path, address: str, reason: str) -> None:
    file = RemoteFile(address.format(web=web[0]))
    with pytest.raises(InputError, match=reason) as caught, file.download(tmp_path / "copy"):
        pass
    assert str(caught.value).startswith(file.shown) and "secret" not in str(caught.value)
    assert not (tmp_path / "copy").exists()


def test_too_large(bucket, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(remote, "MAX_BYTES", 6)
    file = RemoteFile("memory://bucket/a/b.mp4")
    with pytest.raises(InputError, match="can be downloaded here"), file.download(tmp_path / "c"):
        pass
    # A server that does not say the size: refused while it comes.
    told = type(bucket).info
    monkeypatch.setattr(type(bucket), "info", lambda *a, **k: told(*a, **k) | {"size": None})
    with pytest.raises(InputError, match="can be downloaded here"), file.download(tmp_path / "c"):
        pass


def test_missing_package(monkeypatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", absent)
    with pytest.raises(InputError, match=r"s3fs.*pip install"):
        find_remote_files("s3://bucket/*.mp4", VIDEOS)


@pytest.mark.parametrize("address", ["zip://a.mp4::https://host/b.zip", "file:///etc/a.mp4"])
def test_refused_addresses(address: str) -> None:
    with pytest.raises(InputError, match="give the"):
        find_remote_files(address, VIDEOS)
