"""Flow in colours: directions and speeds by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from actiontubes.datasets.flow.cache import cache_path, write_cache
from actiontubes.datasets.flow.colors import color_wheel, draw_flow, draw_flow_video, flow_to_rgb
from actiontubes.datasets.flow.estimate import encode_flow
from actiontubes.datasets.video.reader import probe, read_video


def test_colours_by_hand() -> None:
    still, right, left = (0, 0), (20, 0), (-20, 0)
    slow, fast = (5, 0), (300, 0)
    down = (0, 20)
    found = flow_to_rgb(np.array([[still, right, left, slow, fast, down]], np.float32))[0]
    assert found[0].tolist() == [255, 255, 255]
    assert found[1].tolist() == [255, 0, 0] and found[2].tolist() == [0, 255, 255]
    # A quarter of the speed has half of the saturation.
    assert found[3].tolist() == [255, 128, 128] and found[4].tolist() == [255, 0, 0]
    np.testing.assert_allclose(found[5], (128, 255, 0), atol=1)


def test_wheel() -> None:
    disc, shown = color_wheel(41)
    assert disc.shape == (41, 41, 3) and not shown[0, 0] and shown[20].all()
    assert abs(shown.mean() - np.pi / 4) < 0.02
    assert disc[20, 20].min() > 240  # still, in the middle
    assert disc[20, 40, 0] == 255 and disc[20, 40, 1] < 10
    assert disc[20, 0, 0] < 10 and disc[20, 0, 1] > 250


def test_pictures_beside_their_flow() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    flow = np.broadcast_to(encode_flow(np.array([20.0, 0])), (40, 60, 2))
    both = np.concatenate([rgb, flow], axis=2)
    for drawn in draw_flow([both, both]):
        assert drawn.shape == (40, 120, 3) and np.array_equal(drawn[:, :60], rgb)
        assert (drawn[:30, 60:] == (255, 0, 0)).all()
        assert np.array_equal(drawn[-4, -4], color_wheel(8)[0][4, 4])  # the wheel's middle
    assert not list(draw_flow([]))
    tiny = both[:5, :6]
    assert next(draw_flow([tiny])).shape == (5, 12, 3)


def test_video(numbered, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "v.mp4", 5, size=(64, 48), rate=12)
    cache = cache_path(video, "dis")
    write_cache(video, cache, "dis")
    draw_flow_video(video, cache, tmp_path / "v.flow.mp4", "dis")
    info = probe(tmp_path / "v.flow.mp4")
    assert (info.width, info.height, info.fps) == (128, 48, 12)
    frames = list(read_video(tmp_path / "v.flow.mp4"))
    assert numbered.numbers([frame[:, :64] for frame in frames]) == list(range(5))
