"""Flow caches: the same numbers as computed, any frame of them, and nothing of another video."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from actiontubes.datasets.clips.detection_clips import DetectionClips
from actiontubes.datasets.clips.detection_set import DetectionSet
from actiontubes.datasets.clips.options import ClipConfig, ClipSampling
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.flow.cache import (
    append_cached_flow,
    cache_path,
    is_valid_cache,
    read_cache,
    read_frames_with_flow,
    write_cache,
)
from actiontubes.datasets.flow.estimate import FLOW_ZERO
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.media import read_frames
from actiontubes.datasets.video.writer import open_video_writer

from .test_estimate import moving

FRAMES = 14


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flow") / "v.mp4"
    with open_video_writer(path, 25) as writer:
        for picture in moving(FRAMES, (2, 1)):
            writer.write(picture)
    return path


@pytest.fixture
def video(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(source, tmp_path / "v.mp4"))


def frames_in(video: Path, start: int, stop: int) -> list[np.ndarray]:
    return list(read_frames_with_flow(video, start, stop, "dis"))


def test_cached_and_computed_are_the_same(video: Path) -> None:
    spans = [(0, FRAMES), (0, 1), (3, 9), (FRAMES - 1, FRAMES), (10, 30), (FRAMES, FRAMES + 2)]
    computed = [frames_in(video, *span) for span in spans]
    streamed = list(append_cached_flow(read_frames(video, 0, 99), video, "dis"))
    assert write_cache(video, cache_path(video, "dis"), "dis") == FRAMES
    assert is_valid_cache(cache_path(video, "dis"), video, "dis")
    for span, expected in zip(spans, computed):
        found = frames_in(video, *span)
        assert len(found) == len(expected) == len(range(*span)[: FRAMES - span[0]])
        assert all(np.array_equal(a, b) for a, b in zip(found, expected))
    whole = computed[0]
    for other in (streamed, list(append_cached_flow(read_frames(video, 0, 99), video, "dis"))):
        assert all(np.array_equal(a, b) for a, b in zip(other, whole, strict=True))
    # Any clip is a part of the whole, and the last frame repeats the flow before it.
    for (start, stop), part in zip(spans, computed):
        assert all(np.array_equal(a, b) for a, b in zip(part, whole[start:stop], strict=True))
    assert np.array_equal(whole[-1][..., 3:], whole[-2][..., 3:])
    assert np.median(whole[3][16:-16, 16:-16, 3]) == FLOW_ZERO + round(2 * 127 / 20)


def test_folder_of_frames(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(moving(4), 1):
        cv2.imwrite(str(folder / f"{number:05d}.png"), picture[..., ::-1])
    computed = frames_in(folder, 0, 9)
    assert write_cache(folder, cache_path(folder, "dis"), "dis") == 4
    assert cache_path(folder, "dis") == tmp_path / "frames.dis.flow"
    assert all(np.array_equal(a, b) for a, b in zip(frames_in(folder, 0, 9), computed, strict=True))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"contains no video file and no frames named 00001\.jpg"):
        write_cache(tmp_path / "none", tmp_path / "x.flow", "dis")


def refused(cache: Path, media: Path, method: Any = "dis") -> str:
    with pytest.raises(InputError) as error:
        list(read_cache(cache, media, method))
    message = str(error.value)
    assert str(cache) in message and "\n" not in message
    return message


def test_what_does_not_fit_is_refused(video: Path, numbered: Any, tmp_path: Path) -> None:
    cache = cache_path(video, "dis")
    write_cache(video, cache, "dis")
    mend = f"run `actiontubes flow {video} --method"
    assert f"{mend} tvl1" in refused(cache, video, "tvl1")
    other = numbered.write(tmp_path / "other.mp4", FRAMES, size=(64, 64))
    assert "is not the dis flow" in refused(cache, other)
    assert not is_valid_cache(cache, other, "dis") and not is_valid_cache(cache, video, "tvl1")
    assert "is not the dis flow" in refused(Path(shutil.copy(video, tmp_path / "x.flow")), video)
    # A cache of as many bytes of video, but fewer frames or another size.
    for pictures in ([*moving(FRAMES), *moving(2)], list(moving(2, side=48))):
        with pytest.raises(InputError, match="is not the dis flow"):
            list(append_cached_flow(pictures, video, "dis"))


def test_damage_is_told(video: Path) -> None:
    cache = cache_path(video, "dis")
    write_cache(video, cache, "dis")
    content = cache.read_bytes()
    cache.write_bytes(content[: len(content) // 2])
    for frames in (
        read_frames_with_flow(video, 0, FRAMES, "dis"),
        read_frames_with_flow(video, 12, 14, "dis"),
    ):
        with pytest.raises(InputError, match="run `actiontubes flow"):
            list(frames)
    cache.write_bytes(content[:20])
    assert "cannot be opened" in refused(cache, video)
    cache.write_bytes(b"")
    assert "is empty" in refused(cache, video)
    assert not is_valid_cache(cache, video, "dis")


def test_nothing_half_written(video: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from actiontubes.datasets.flow import cache as flow_cache

    def few(*_: Any, **__: Any) -> Any:
        yield from [(one, np.zeros((64, 64, 2), np.uint8)) for one in moving(2)]
        raise InputError("the video ends here")

    monkeypatch.setattr(flow_cache, "iter_flow", few)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="ends here"):
        write_cache(video, cache_path(video, "dis"), "dis")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("memory", [False, True])
def test_training_clips(video: Path, cached: bool, memory: bool) -> None:
    """Of all three streams, from the same draw: the same pictures."""
    if cached:
        write_cache(video, cache_path(video, "dis"), "dis")
    count = np.full(1, FRAMES)
    none = np.empty(0, np.int32)
    tubes = Tubes(none, none, none, np.empty((0, 4)), none, ("v",), ("run",))
    videos = DetectionSet(tubes, ("v",), ("run",), (video,), count, count * 0 + 64, count * 0 + 64)
    samples = {}
    for streams in ("rgb", "flow", "both"):
        settings = ClipConfig(frames=5, size=(32, 48), streams=streams, flow_method="dis")  # type: ignore[arg-type]
        clips = DetectionClips(
            videos, settings, augmentation=None, seed=1, sampling=ClipSampling(cache=memory)
        )
        samples[streams] = [clips[position].clip.numpy() for position in range(6)]
    for rgb, flow, both in zip(*samples.values()):
        assert rgb.shape == (5, 32, 48, 3) and flow.shape == (5, 32, 48, 2)
        assert np.array_equal(both, np.concatenate([rgb, flow], axis=3))
        assert abs(np.median(flow[..., 0]) - 141) <= 1 and abs(np.median(flow[..., 1]) - 134) <= 1
