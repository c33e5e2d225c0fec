"""The folder of cached features: its limit, its place, and several processes at once."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from actiontubes.datasets.storage.files import TEMPORARY_PREFIX
from actiontubes.detect.training.feature_cache import FeatureCache, content_digest, default_folder

MAPS = {
    "Mixed_4b": torch.arange(24.0).reshape(1, 2, 3, 2, 2),
    "half": torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16),
}
NHWC = torch.arange(24.0).reshape(1, 2, 3, 2, 2).contiguous(memory_format=torch.channels_last_3d)


def test_what_was_kept_is_what_is_loaded(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "new", 1e6)
    assert cache.load("a") is None
    maps = {**MAPS, "channels last": NHWC}
    cache.save("a", maps, {"crop": (1, 2), "flip": True})
    for reader in (cache, FeatureCache(tmp_path / "new", 0)):
        loaded = reader.load("a")
        assert loaded is not None and loaded[1] == {"crop": [1, 2], "flip": True}
        for name, each in maps.items():
            assert loaded[0][name].dtype == each.dtype and torch.equal(loaded[0][name], each)
            assert loaded[0][name].stride() == each.stride(), "convolutions round by the order"


def test_the_limit_is_of_the_whole_folder_and_said_once(tmp_path: Path) -> None:
    first = FeatureCache(tmp_path, 1e6)
    for key in ("a", "b"):
        first.save(key, MAPS, {})
    used = sum(path.stat().st_size for path in tmp_path.iterdir())
    second = FeatureCache(tmp_path, used + 99)  # the maps have 100 bytes
    with pytest.warns(UserWarning, match="has reached .*e-.* GB with 2 clips; the features of"):
        second.save("c", MAPS, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second.save("d", MAPS, {})
        calls = []
        maps = second.load_or_compute("d", lambda: calls.append(1) or MAPS, {}, "cpu")
    assert maps is MAPS and calls == [1]
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file" / "folder", 1e6)
    with pytest.warns(UserWarning, match="cannot be written"):
        cache.save("a", MAPS, {})
    assert cache.load_or_compute("a", lambda: MAPS, {}, "cpu") is MAPS


def test_a_file_of_another_key_is_not_taken(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 1e6)
    cache.save("a", MAPS, {})
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    with pytest.warns(UserWarning, match=r"b\.safetensors: is damaged"):
        assert cache.load("b") is None


def test_a_file_damaged_after_it_was_read_is_noticed(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 1e6)
    cache.save("a", MAPS, {})
    assert cache.load("a") is not None
    content = bytearray((tmp_path / "a.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        assert cache.load("a") is None


def test_what_a_killed_process_left_is_no_file_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY_PREFIX}x.safetensors").write_bytes(b"half a file" * 1000)
    cache = FeatureCache(tmp_path, 1000)
    cache.save("a", MAPS, {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_folder_is_beside_the_videos_or_with_the_users_caches(
    tmp_path: Path, monkeypatch
) -> None:
    for name in ("data/one/a.mp4", "data/two/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    media = [tmp_path / "data/one/a.mp4", tmp_path / "data/two/b.mp4"]
    assert default_folder(media) == tmp_path / "data/actiontubes-features"
    assert default_folder(media[:1]) == tmp_path / "data/one/actiontubes-features"
    monkeypatch.setenv("ACTIONTUBES_CACHE", str(tmp_path / "user"))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "data")
    assert default_folder(media) == tmp_path / "user/actiontubes-features"


def test_digests_are_of_the_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (content_digest(tmp_path / name) for name in "abc")
    assert a == b != c
    for folder, files in (("d", "12"), ("e", "12"), ("f", "21")):
        (tmp_path / folder).mkdir()
        for number, content in enumerate(files):
            (tmp_path / folder / f"{number}.png").write_text(content)
    d, e, f = (content_digest(tmp_path / name) for name in "def")
    assert d == e != f
