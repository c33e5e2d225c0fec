"""Files of `torch.save`, checked before PyTorch opens them."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from ...datasets.errors import InputError
from ...datasets.storage.files import EXTRA_MEMORY, allowed_memory
from ...datasets.storage.safe_pickle import ArrayUnpickler, UnsafePickleError

_PICKLE_BYTES = 16 << 20  # of what a file says besides its tensors' values
_LEGACY_PICKLES = 5  # of files before PyTorch 1.6: magic number, protocol, system, content, keys
# What the state dict of a network or an optimizer refers to. PyTorch allows more, such as
# bytearray(10**12).
_NAMES = re.compile(
    r"collections\.Counter|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)|torch\.nn\.parameter\.Parameter"
    r"|torch\.(storage\.(Typed|Untyped)Storage|\w+Storage|Size|device|b?float\d*|double|half"
    r"|u?int\d+|long|short|bool|complex\d+)"
)


def load_torch_file(path: Path) -> Any:
    """The content of a .pt or .pth file: tensors on the CPU, plain containers and values.

    Raises:
        InputError: the file is damaged, would run code, or asks for far more memory than its size
            makes plausible.
        OSError: the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_PICKLE_BYTES)
        if start.startswith(b"PK\x03\x04"):  # as PyTorch tells them apart
            _check_archive(path)
        else:
            scan = _TorchScan(start)
            for _ in range(_LEGACY_PICKLES):
                scan.load()
        with warnings.catch_warnings():
            # PyTorch warns of pickle protocols that its own files never have.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_views(content)
        return content
    except UnsafePickleError as error:
        raise InputError(
            f"{path}: refused for safety: {error}; only files with nothing but tensors are read"
        ) from error
    # A damaged file can raise any of a dozen types.
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise InputError(
            f"{path}: cannot be read as a PyTorch file of tensors ({type(error).__name__}); "
            "download it again"
        ) from error


def _check_archive(path: Path) -> None:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > allowed_memory(size):
            raise UnsafePickleError("it asks for far more memory than its size")
        for entry in archive.infolist():
            if entry.filename.endswith("data.pkl"):
                if entry.file_size > _PICKLE_BYTES:
                    raise UnsafePickleError("it says more than tensors need")
                _TorchScan(archive.read(entry)).load()


class _TorchScan(ArrayUnpickler):
    """Goes through a pickle of `torch.save` without its tensors, and refuses what is no part of it.

    It may be loaded several times, for several pickles behind each other.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), len(content), EXTRA_MEMORY // 4)

    def find_class(self, module: str, name: str) -> Any:
        if _NAMES.fullmatch(f"{module}.{name}"):
            return _Placeholder
        if (module, name) == ("collections", "OrderedDict"):
            return lambda pairs=(): _AttributeDict(self._ordered_dict(pairs))
        raise UnsafePickleError(f"it would import {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return None


class _AttributeDict(dict):
    """State dicts have an attribute, too, with versions."""


class _Placeholder:
    """A tensor, or what one is made of."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _refuse_views(content: Any) -> None:
    """Refuses tensors with more elements than were stored: a copy would take any memory."""
    if isinstance(content, torch.Tensor):
        if content.layout != torch.strided or content.nbytes > content.untyped_storage().nbytes():
            raise UnsafePickleError("it contains a tensor with more elements than its file")
    elif isinstance(content, dict):
        for value in content.values():
            _refuse_views(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            _refuse_views(value)
