"""Feature maps of clips, kept on disk between runs: one safetensors file for each clip.

A file's name is the SHA-256 of all that its content depends on, so that another video, other
weights or another setting is another file. Files are written whole or not at all, and what is read
is compared with its checksum; any number of processes may share a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...backbones.weights.cache import cache_folder
from ...datasets.clips.loader import move_to
from ...datasets.storage.files import atomic_write, delete_abandoned, file_digest
from ..model.detector import Detector

FOLDER = "actiontubes-features"
"""The cache's folder, beside the videos or in the user's cache folder."""
GIGABYTE = 10**9
_FORMAT = 1  # one more whenever the same settings give other features
_METADATA_KEY = "actiontubes-features"
_CHANNELS_LAST, _CHANNELS_SECOND = (0, 2, 3, 4, 1), (0, 4, 1, 2, 3)

Maps = dict[str, Tensor]


class FeatureCache:
    """Feature maps by key in a folder, up to a limit.

    Args:
        folder: is made when the first file is written.
        limit: bytes that the files in the folder may have in all.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self._limit = folder, limit
        self._is_full = False
        self._checked: set[tuple[str, int]] = set()  # keys and times of files that are undamaged

    def load(self, key: str) -> tuple[Maps, dict[str, Any]] | None:
        """The feature maps of a key, mapped from the file, and the record that was saved with them.

        None without such a file, and with a warning where it is damaged.
        """
        path = self._path(key)
        try:
            written = path.stat().st_mtime_ns
            with safe_open(path, "pt") as file:
                metadata = json.loads(file.metadata()[_METADATA_KEY])
                content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            record = metadata["record"]
            if (key, written) not in self._checked:
                if metadata["key"] != key or metadata["checksum"] != _checksum(content, metadata):
                    raise ValueError
                self._checked.add((key, written))
            maps = {
                name: each.permute(_CHANNELS_SECOND) if name in metadata["channels_last"] else each
                for name, each in content.items()
            }
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, SafetensorError, ValueError, LookupError, TypeError):
            warnings.warn(f"{path}: is damaged; its features are computed again", stacklevel=2)
            return None
        return maps, record

    def save(self, key: str, maps: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Keeps feature maps, unless the folder is full.

        Args:
            key: see `feature_key`.
            maps: of one clip by name.
            record: plain JSON, returned by `load`.

        Warns:
            The limit is reached, or the file cannot be written: once, and nothing more is kept.
        """
        if self._is_full:
            return
        # The order in memory is kept, too: other convolutions round the sums otherwise.
        channels_last = [name for name, each in maps.items() if _is_channels_last(each)]
        content = {
            name: (each.permute(_CHANNELS_LAST) if name in channels_last else each)
            .detach().cpu().contiguous()
            for name, each in maps.items()
        }  # fmt: skip
        size = sum(each.nbytes for each in content.values())
        count, used = self._usage()
        if used + size > self._limit:
            self._stop(
                f"has reached {self._limit / GIGABYTE:g} GB with {count} clips; the features of "
                "other clips are computed whenever they are needed; delete old files, or raise "
                "--cache-features-limit"
            )
            return
        metadata: dict[str, Any] = {"key": key, "record": record, "channels_last": channels_last}
        metadata["checksum"] = _checksum(content, metadata)
        try:
            with atomic_write(self._path(key)) as temporary:
                save_file(content, temporary, {_METADATA_KEY: json.dumps(metadata)})
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            self._stop(f"cannot be written ({reason}); features are computed whenever needed")

    def load_or_compute(
        self,
        key: str,
        compute: Callable[[], Maps],
        record: Mapping[str, Any],
        device: torch.device | str,
    ) -> Maps:
        """Feature maps that are kept, or else computed without gradients and then kept.

        Args:
            key, record: see `save`.
            compute: gives the feature maps, on `device`.
            device: that they are wanted on.
        """
        known = self.load(key)
        if known is not None:
            return move_to(known[0], device)
        with torch.no_grad():
            maps = compute()
        self.save(key, maps, record)
        return maps

    def _stop(self, reason: str) -> None:
        self._is_full = True
        warnings.warn(f"{self.folder}: {reason}", stacklevel=3)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _usage(self) -> tuple[int, int]:
        """Number and bytes of the files in the folder, also those of other runs."""
        if not self.folder.is_dir():
            return 0, 0
        delete_abandoned(self.folder)
        with os.scandir(self.folder) as entries:
            sizes = [_size(entry) for entry in entries if entry.name.endswith(".safetensors")]
        return len(sizes), sum(sizes)


def _size(entry: os.DirEntry) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # another process has given it its name
        return 0


def _is_channels_last(features: Tensor) -> bool:
    return features.ndim == 5 and features.is_contiguous(memory_format=torch.channels_last_3d)


def _checksum(content: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
    """CRC-32 of names, types, shapes and values, and of the metadata."""
    described = {name: metadata[name] for name in ("record", "channels_last")}
    value = zlib.crc32(json.dumps(described, sort_keys=True).encode())
    for name in sorted(content):
        each = content[name]
        value = zlib.crc32(f"{name} {each.dtype} {tuple(each.shape)}".encode(), value)
        value = zlib.crc32(each.reshape(-1).view(torch.uint8).numpy().data, value)
    return value


def feature_key(settings: Mapping[str, Any], clip: Mapping[str, Any]) -> str:
    """The name of a clip's features.

    Args:
        settings: of `feature_settings`.
        clip: plain JSON, all that its pixels depend on.
    """
    content = {"format": _FORMAT, "settings": settings, "clip": clip}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def feature_settings(detector: Detector, precision: str, device: str) -> dict[str, Any]:
    """What a clip's features depend on, besides its pixels, as plain JSON.

    Args:
        detector: its frozen trunks.
        precision: that they compute in.
        device: kind of the device that they compute on.
    """
    config = detector.config
    trunks = [trunk for trunk in (detector.trunk, detector.flow_trunk) if trunk is not None]
    return {
        "backbone": [[t.name, t.width_multiplier, t.channels_in, dict(t.layout)] for t in trunks],
        "weights": [_weights_digest(trunk.state_dict()) for trunk in trunks],
        "endpoints": detector.endpoints, "head_endpoints": detector.head_endpoints,
        "proposals": config.proposals, "streams": config.streams,
        "flow_method": config.flow_method, "size": config.size, "mean": config.mean,
        "std": config.std, "precision": precision, "device": device,
    }  # fmt: skip


def _weights_digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, values in state.items():
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        flat = values.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def content_digest(media: Path) -> str:
    """The SHA-256 of a video file, or of a folder of frames."""
    if media.is_file():
        return file_digest(media)
    files = sorted(path for path in media.iterdir() if path.is_file())
    names = [(path.name, file_digest(path)) for path in files]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def default_folder(media: Sequence[Path]) -> Path:
    """Where the features of some videos are kept: beside them, or else with the user's caches.

    Args:
        media: video files, or folders of frames.
    """
    try:
        beside = Path(os.path.commonpath([path.resolve().parent for path in media]))
    except ValueError:  # on several drives
        return cache_folder() / FOLDER
    folder = beside / FOLDER
    writable = os.access(folder if folder.is_dir() else beside, os.W_OK)
    return folder if writable and beside != Path(beside.anchor) else cache_folder() / FOLDER
