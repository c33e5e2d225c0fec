"""."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.reader import probe, read_timed_video, read_video
from actiontubes.datasets.video.writer import open_video_writer


def write(numbered, path: Path, num_frames: int = 20, fps: float = 25.0, size=(64, 48), **options):
    with open_video_writer(path, fps, **options) as writer:
        for number in range(num_frames):
            writer.write(numbered.frame(number, *size))
    return path


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (320, 2), (4, 4), (1, 1)])
def test_what_is_written_is_read_again(numbered, tmp_path: Path, size: tuple[int, int]) -> None:
    path = write(numbered, tmp_path / "a.mp4", size=size)
    frames = list(read_video(path))
    width, height = size
    assert len(frames) == 20
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    if min(size) > 40:
        assert numbered.numbers(frames) == list(range(20))
        expected = np.stack([numbered.frame(number, *size) for number in range(20)])
        lossy = np.stack(frames)[:, :height, :width].astype(int)
        assert np.abs(lossy - expected).mean() < 3
        # The colour matrix is the one that the file names: red stays red.
        assert np.abs(lossy[:, 2, 2] - (220, 30, 30)).max() < 12


def test_an_odd_side_repeats_its_edge(tmp_path: Path) -> None:
    frame = np.zeros((49, 65, 3), np.uint8)
    frame[:, 32:] = 200
    path = tmp_path / "a.mp4"
    with open_video_writer(path, 25) as writer:
        writer.write(frame)
    padded = next(read_video(path))
    assert padded.shape == (50, 66, 3)
    assert (padded[:, 60:] > 180).all()


@pytest.mark.parametrize(
    "rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(2160, 77)]
)
def test_frame_rate_and_count_are_exact(numbered, tmp_path: Path, rate: Fraction) -> None:
    path = write(numbered, tmp_path / "a.mp4", fps=float(rate))
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == rate
    assert probe(path).num_frames == 20
    times = [time for time, _ in read_timed_video(path)]
    assert times == pytest.approx(np.arange(20) / float(rate), abs=1e-6)


def test_given_times_are_kept(numbered, tmp_path: Path) -> None:
    given = np.array([7.0, 7.05, 7.061, 7.2, 9.0])
    path = tmp_path / "a.mp4"
    with open_video_writer(path, 25) as writer:
        for number, time in enumerate(given):
            writer.write(numbered.frame(number), time)
    times = [time for time, _ in read_timed_video(path)]
    assert times == pytest.approx(given - 7, abs=1e-4)


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
@pytest.mark.parametrize("times", [[0.0, 0.04, 0.08, 1.0], [0.0, 1.0, 1.04, 1.08], [0.0]])
@pytest.mark.filterwarnings("ignore:.*no H.264 encoder")
def test_it_lasts_until_the_end_of_the_last_frame(
    numbered, tmp_path: Path, encoder: str, times: list[float]
) -> None:
    path = tmp_path / "a.mp4"
    with open_video_writer(path, 10, encoders=(encoder,)) as writer:
        for number, time in enumerate(times):
            writer.write(numbered.frame(number), time)
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(times[-1] + 0.1, abs=2e-3)
    assert [time for time, _ in read_timed_video(path)] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("fps", [1e-4, 0.02, 90000.0, 1e7])
def test_strange_rates_are_written(numbered, tmp_path: Path, fps: float) -> None:
    path, times = tmp_path / "a.mp4", [0.0, 0.04, 0.5]
    with open_video_writer(path, fps) as writer:
        for number, time in enumerate(times):
            writer.write(numbered.frame(number), time)
    written, frames = zip(*read_timed_video(path))
    assert numbered.numbers(frames) == [0, 1, 2]
    if fps > 1:
        assert written == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(8, 9), Fraction(123, 541)])
def test_the_shape_of_pixels_is_written(numbered, tmp_path: Path, aspect: Fraction) -> None:
    path = write(numbered, tmp_path / "a.mp4", pixel_aspect=aspect)
    assert probe(path).pixel_aspect == pytest.approx(aspect, rel=1e-3)


def test_frames_too_large_for_h264_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"a\.mp4: a video of 16386x2 pixels cannot be written"),
        open_video_writer(tmp_path / "a.mp4", 25) as writer,
    ):
        writer.write(np.zeros((2, 16386, 3), np.uint8))


def test_browsers_can_play_it_at_once(numbered, tmp_path: Path) -> None:
    path = write(numbered, tmp_path / "a.mp4")
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


def test_without_h264_the_next_best_is_taken_with_a_warning(numbered, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="has no H.264 encoder"):
        path = write(numbered, tmp_path / "a.mp4", fps=29.97, encoders=("absent", "mpeg4"))
    assert numbered.numbers(list(read_video(path))) == list(range(20))
    with pytest.raises(InputError, match="no video encoder works \\(absent"):
        write(numbered, tmp_path / "b.mp4", encoders=("absent",))


def test_an_error_leaves_the_old_file(numbered, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("old")

    def broken() -> None:
        with open_video_writer(path, 25) as writer:
            writer.write(numbered.frame(0))
            raise KeyError("something else")

    with pytest.raises(KeyError):
        broken()
    with pytest.raises(InputError, match="there were no frames"):
        write(numbered, path, num_frames=0)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_requests(numbered, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.avi: .* must end in \.mp4"):
        write(numbered, tmp_path / "a.avi")
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"cannot be written at .* frames per second"):
            write(numbered, tmp_path / "a.mp4", fps=fps)
    with open_video_writer(tmp_path / "a.mp4", 25) as writer:
        for frame in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")):
            with pytest.raises(ValueError, match="frames must be"):
                writer.write(frame)
        writer.write(numbered.frame(0))
        with pytest.raises(ValueError, match="must have the same size"):
            writer.write(numbered.frame(0, 32, 32))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX's")
@pytest.mark.parametrize("frames", [3, 100])
def test_a_full_disk_is_one_line(tmp_path: Path, frames: int) -> None:
    """A limit of 20,000 bytes a file stands in for the full disk."""
    program = f"""
import resource, signal, numpy as np
from pathlib import Path
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.writer import open_video_writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
noise = np.random.default_rng(0)
try:
    with open_video_writer(Path("a.mp4"), 25) as writer:
        for _ in range({frames}):
            writer.write(noise.integers(0, 255, (240, 320, 3), np.uint8))
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("a.mp4: could not be written (")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
