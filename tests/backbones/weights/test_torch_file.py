"""Files of `torch.save` that mean harm; what is plain is read as PyTorch reads it."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from actiontubes.backbones.weights import torch_file
from actiontubes.backbones.weights.torch_file import load_torch_file
from actiontubes.datasets.errors import InputError


@pytest.mark.parametrize("is_zip", [True, False])
def test_plain_files(tmp_path: Path, is_zip: bool) -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.rand(1, 3)).sum().backward()
    optimizer.step()
    content = {
        "model": layer.state_dict(), "optimizer": optimizer.state_dict(), "step": 3, "scaler": None,
        "settings": {"labels": ["a", "é"], "size": (48, 64)}, "half": torch.ones(3).half(),
        "parameter": layer.weight, "view": torch.arange(6).reshape(2, 3).T, "steps": Counter([1]),
        "empty": torch.empty(0), "flag": torch.tensor(True), "dtype": torch.float32,
    }  # fmt: skip
    path = tmp_path / "a.pt"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    found = load_torch_file(path)
    assert found["settings"] == content["settings"] and found["step"] == 3
    assert isinstance(found["model"], OrderedDict)
    assert torch.equal(found["view"], torch.tensor([[0, 3], [1, 4], [2, 5]]))
    assert torch.equal(found["optimizer"]["state"][0]["exp_avg"],
                       optimizer.state_dict()["state"][0]["exp_avg"])  # fmt: skip


class Asks:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def repeated(levels: int) -> Any:
    value: Any = [1.0]
    for _ in range(levels):
        value = [value] * 10
    return value


def nested(levels: int) -> Any:
    value: Any = ()
    for _ in range(levels):
        value = (value, value)
    return value


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (Asks(bytearray, 10**12), "would import __builtin__.bytearray"),
        (Asks(torch.Tensor, 10**6, 10**6), "would import torch.Tensor"),
        (repeated(12), "repeats its objects too often"),
        ({"a": torch.ones(1).expand(10**9)}, "more elements than its file"),
        ([torch.ones(3).to_sparse()], "would import torch"),
    ],
)
def test_what_asks_for_more_than_it_holds(
    tmp_path: Path, content: Any, says: str, is_zip: bool
) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(InputError, match=f"refused for safety: .*{says}") as caught:
        load_torch_file(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_key_whose_hash_never_ends(tmp_path: Path) -> None:
    key = pickle.dumps(nested(60), 2)[2:-1]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}" + key + b"Ns.")
        archive.writestr("a/version", b"3\n")
    path = tmp_path / "a.pt"
    path.write_bytes(content.getvalue())
    with pytest.raises(InputError, match="has tuple as a key"):
        load_torch_file(path)


def test_an_archive_that_unpacks_to_far_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_file, "allowed_memory", lambda size: size + (50 << 20))
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data/1", bytes(60 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match="far more memory than its size"):
        load_torch_file(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02(" + b"]" * (20 << 20) + b"t.")
    with pytest.raises(InputError, match="says more than tensors need"):
        load_torch_file(path)


def test_an_archive_behind_a_pickle(tmp_path: Path) -> None:
    """What is checked is what PyTorch reads: the start of the file decides."""
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(3)}, path)
    path.write_bytes(pickle.dumps(Asks(bytearray, 10**12), 2) + path.read_bytes())
    with pytest.raises(InputError, match="would import"):
        load_torch_file(path)
