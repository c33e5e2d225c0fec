"""Frames that are sought are those that reading from the start gives; dropped frames take time."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.frame_times import frame_times
from actiontubes.datasets.video.reader import probe, read_timed_video, read_video


def rewritten(source: Path, target: Path, change: Callable[[int, bytes], bytes]) -> Path:
    """A copy of a video with other bytes in its packets."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for number, packet in enumerate(old.demux(stream)):
            if packet.size:
                changed = av.Packet(change(number, bytes(packet)))
                changed.pts, changed.dts = packet.pts, packet.dts
                changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
                changed.stream = copy
                new.mux(changed)
    return target


def assert_sought_as_read(path: Path) -> None:
    whole = list(read_video(path, threads=1))
    for threads in (1, 4):
        np.testing.assert_array_equal(np.stack(list(read_video(path, threads=threads))), whole)
        for number in (5, 13, 26, 39):
            sought = next(read_video(path, number, number + 1, threads=threads))
            np.testing.assert_array_equal(sought, whole[number])


@pytest.mark.parametrize(("build", "sought"), [(b"133", False), (b"150", False), (b"151", True)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_full_chroma_of_old_x264(
    numbered, tmp_path: Path, name: str, build: bytes, sought: bool
) -> None:
    path = numbered.write(tmp_path / name, pixels="yuv444p", size=(160, 120))
    content, count = re.subn(rb"x264 - core \d+", b"x264 - core " + build, path.read_bytes())
    assert count == 1
    path.write_bytes(content)
    assert (frame_times(path) is not None) == sought
    assert_sought_as_read(path)


def test_tables_of_the_first_frame_serve_all(numbered, tmp_path: Path) -> None:
    """Motion JPEG whose later frames have no quantization and Huffman tables of their own."""

    def without_tables(number: int, jpeg: bytes) -> bytes:
        if number == 0:
            return jpeg
        kept, place = jpeg[:2], 2
        while jpeg[place + 1] != 0xDA:
            length = 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
            if jpeg[place + 1] not in (0xDB, 0xC4):
                kept += jpeg[place : place + length]
            place += length
        return kept + jpeg[place:]

    source = numbered.write(tmp_path / "a.avi", codec="mjpeg", pixels="yuvj420p", b_frames=0)
    path = rewritten(source, tmp_path / "b.avi", without_tables)
    assert frame_times(path) is not None
    assert_sought_as_read(path)


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mp4"])
def test_the_encoder_named_by_the_first_frame_counts_for_all(
    numbered, tmp_path: Path, name: str
) -> None:
    """Decoders read MPEG-4 of XviD by its own inverse transform."""

    def marked(number: int, data: bytes) -> bytes:
        mark = b"\0\0\1\xb2XviD0050\0\0\1\xb6"
        return data if number else data.replace(b"\0\0\1\xb6", mark, 1)

    options = {"codec": "mpeg4", "b_frames": 0, "size": (160, 120)}
    source = numbered.write(tmp_path / f"source-{name}", **options)
    path = rewritten(source, tmp_path / name, marked)
    assert frame_times(path) is not None
    differs = [(a != b).any() for a, b in zip(read_video(path), read_video(source), strict=True)]
    assert all(differs[12:])
    assert_sought_as_read(path)


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mp4"])
def test_packets_that_repeat_a_frame_are_no_damage(numbered, tmp_path: Path, name: str) -> None:
    # MPEG-4 Part 2 that is not coded: start code, P, no second, 5 bits of time, not coded.
    bits = "01010000010"
    bits += "0" + "1" * (-len(bits) % 8 - 1)
    empty = b"\0\0\1\xb6" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    source = numbered.write(tmp_path / f"source-{name}", codec="mpeg4", b_frames=0)
    path = rewritten(source, tmp_path / name, lambda n, data: empty if n in (7, 8, 30) else data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        times, frames = zip(*read_timed_video(path))
        later = next(read_video(path, 20))
    numbers = [number for number in range(40) if number not in (7, 8, 30)]
    assert times == pytest.approx(np.array(numbers) / 25, abs=1e-3)
    # The next key frame is frame 12.
    assert numbered.numbers(frames[10:]) == numbers[10:]
    assert numbered.number(later) == 22


@pytest.mark.parametrize(
    ("codec", "b_frames"), [("mpeg4", 0), ("mjpeg", 0), ("mpeg4", 2), ("libx264", 2)]
)
def test_dropped_frames_of_an_avi_take_their_time(
    numbered, tmp_path: Path, codec: str, b_frames: int
) -> None:
    path, ticks = tmp_path / "a.avi", [4 * i if i < 10 else 4 * i + 30 for i in range(40)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        for number, tick in enumerate(ticks):
            image = av.VideoFrame.from_ndarray(numbered.frame(number)).reformat(
                format=stream.pix_fmt
            )
            image.pts, image.time_base = tick, Fraction(1, 25)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for threads in (1, 4):
            times, frames = zip(*read_timed_video(path, threads=threads))
            assert numbered.numbers(frames) == list(range(40))
            # Of the last ones, which the decoder keeps until the end, no packet says the time.
            assert times[:-2] == pytest.approx(np.array(ticks[:-2]) / 25)
            assert times[-2:] == pytest.approx(np.array(ticks[-2:]) / 25, abs=0.1)
        time, frame = next(read_timed_video(path, 20))
    assert (numbered.number(frame), time) == (20, pytest.approx(ticks[20] / 25))
    info = probe(path)
    assert info.num_frames == 40
    assert info.fps == pytest.approx(39 / (ticks[-1] / 25), rel=0.02)


def test_an_empty_sample_of_an_mp4_is_a_dropped_frame(numbered, tmp_path: Path) -> None:
    path = numbered.write(tmp_path / "a.mp4", codec="mjpeg", pixels="yuvj420p", b_frames=0)
    content = bytearray(path.read_bytes())
    sizes = np.frombuffer(content, ">u4", 40, content.index(b"stsz") + 16)
    sizes[19] += sizes[20]
    sizes[20] = 0
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        times, frames = zip(*read_timed_video(path))
        assert numbered.number(next(read_video(path, 30))) == 31
    numbers = [number for number in range(40) if number != 20]
    assert numbered.numbers(frames) == numbers
    assert times == pytest.approx(np.array(numbers) / 25)


def test_an_avi_in_ticks_of_a_millisecond(numbered, tmp_path: Path) -> None:
    """As it comes out of Matroska: between two frames 39 are dropped, and after the last one."""
    source = numbered.write(tmp_path / "a.mkv", codec="mpeg4", b_frames=0)
    path = rewritten(source, tmp_path / "a.avi", lambda number, data: data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        times, frames = zip(*read_timed_video(path))
        assert numbered.number(next(read_video(path, 30))) == 30
    assert numbered.numbers(frames) == list(range(40))
    assert times == pytest.approx(np.arange(40) / 25)
    info = probe(path)
    assert (info.num_frames, info.fps) == (40, 25)


def test_a_codec_without_decoder(numbered, tmp_path: Path) -> None:
    path = numbered.write(tmp_path / "a.mp4", 5)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzq1"))
    with pytest.raises(InputError, match=r"a\.mp4: its video has a codec that cannot be decoded"):
        probe(path)
