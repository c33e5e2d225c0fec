"""."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.storage.files import load_pickle
from actiontubes.datasets.video import decode as decoding
from actiontubes.datasets.video import reader
from actiontubes.datasets.video.reader import (
    count_frames,
    probe,
    read_frames_at,
    read_timed_video,
    read_video,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# Name, arguments of NumberedVideos.write, and whether packets alone tell frame numbers.
FILES: dict[str, tuple[dict[str, Any], bool]] = {
    "x264.mp4": ({}, True),
    "x264.mkv": ({}, True),
    "fragmented.mp4": ({"container_options": {"movflags": "frag_keyframe+empty_moov"}}, True),
    "intra-refresh.mp4": ({"options": {"intra-refresh": "1"}}, True),
    "open-gop.mp4": ({"options": {"x264-params": "open-gop=1"}}, True),
    "interlaced.mp4": ({"options": {"x264-params": "interlaced=1"}}, True),
    "ten-bit.mp4": ({"pixels": "yuv420p10le"}, True),
    "grey.mp4": ({"pixels": "gray"}, True),
    "odd.mp4": ({"pixels": "yuv444p", "size": (65, 49)}, True),
    "variable-rate.mp4": ({"times": [40 * i + 11 * (i % 3) for i in range(40)]}, True),
    "variable-rate.mkv": ({"times": [40 * i + 11 * (i % 3) + 500 for i in range(40)]}, True),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": {"lag-in-frames": "16"}}, True),
    "mpeg4.avi": ({"codec": "mpeg4", "b_frames": 0}, True),
    "ffv1.mkv": ({"codec": "ffv1", "pixels": "yuv444p"}, True),
    "b-frames.avi": ({"codec": "mpeg4"}, False),
    "hidden-frames.webm": ({"codec": "libvpx", "options": {"auto-alt-ref": "1"}}, False),
    "x264.ts": ({}, False),
    "x264.h264": ({}, False),
    "mpeg2.mpg": ({"codec": "mpeg2video"}, False),
    "palette.gif": ({"codec": "gif", "pixels": "rgb8", "rate": 10}, False),
    "alpha.mov": ({"codec": "qtrle", "pixels": "argb"}, False),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


def written(numbered, folder: Path, name: str) -> Path:
    path = folder / name
    return path if path.exists() else numbered.write(path, **FILES[name][0])


@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_reached_exactly(numbered, folder: Path, name: str) -> None:
    path = written(numbered, folder, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = list(read_video(path))
        info = probe(path)
        assert numbered.numbers(frames) == list(range(40))
        assert frames[0].shape == (info.height, info.width, 3)
        assert frames[0].dtype == np.uint8
        assert info.num_frames in (40, None)
        assert count_frames(path) == 40
        for start in range(40):
            frame = next(read_video(path, start, start + 1, threads=1))
            np.testing.assert_array_equal(frame, frames[start])
        assert list(read_video(path, 40)) == []
        assert numbered.numbers(list(read_video(path, 5, 9))) == [5, 6, 7, 8]
        assert list(read_video(path, 5, 5)) == []


@pytest.mark.parametrize("name", FILES)
def test_a_seek_decodes_no_more_than_it_must(
    numbered, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(numbered, folder, name)
    decoded = 0
    decode = decoding._decode

    def counting(*arguments):
        nonlocal decoded
        for frame in decode(*arguments):
            decoded += 1
            yield frame

    monkeypatch.setattr(decoding, "_decode", counting)
    next(read_video(path, 35, threads=1))
    if not FILES[name][1]:
        assert decoded == 36
    elif name not in ("interlaced.mp4", "intra-refresh.mp4"):
        # A key frame every 12; a first landing past the frame costs one interval more.
        assert decoded <= 25


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.mkv", "ffv1", "bgr0"), ("a.mov", "qtrle", "rgb24"), ("b.mov", "png", "rgba")],
)
def test_lossless_rgb_comes_back_unchanged(
    numbered, tmp_path: Path, name: str, codec: str, pixels: str
) -> None:
    path = numbered.write(tmp_path / name, 3, codec=codec, pixels=pixels)
    for number, frame in enumerate(read_video(path)):
        np.testing.assert_array_equal(frame, numbered.frame(number))


def test_times_are_those_of_the_container(numbered, folder: Path) -> None:
    for name, begin in (("variable-rate.mp4", 0.0), ("variable-rate.mkv", 0.5)):
        path = written(numbered, folder, name)
        expected = [(40 * i + 11 * (i % 3)) / 1000 + begin for i in range(40)]
        assert [time for time, _ in read_timed_video(path)] == pytest.approx(expected, abs=1e-3)
        later = [time for time, _ in read_timed_video(path, 30)]
        assert later == pytest.approx(expected[30:], abs=1e-3)


def test_containers_without_times_count_frames(numbered, folder: Path) -> None:
    for name in ("b-frames.avi", "x264.h264"):
        times = [time for time, _ in read_timed_video(written(numbered, folder, name))]
        assert times == pytest.approx(np.arange(40) / 25)


def test_a_stream_that_begins_later(numbered, tmp_path: Path) -> None:
    """The sound of a transport stream may begin after the seconds that are probed."""
    paths = []
    for name, has_sound in (("a.ts", False), ("b.ts", True)):
        paths.append(tmp_path / name)
        with av.open(str(paths[-1]), "w") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.max_b_frames = 0
            sound = container.add_stream("aac", rate=44100) if has_sound else None
            for number in range(40):
                frame = av.VideoFrame.from_ndarray(numbered.frame(number))
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
                if sound is not None:
                    container.mux(sound.encode(_silence()))
            container.mux(stream.encode(None))
    path = tmp_path / "c.ts"
    stuffing = (
        b"\x47\x1f\xff\x10".ljust(188, b"\xff") * 40_000
    )  # more than FFmpeg probes at both ends
    path.write_bytes(stuffing.join(paths[part].read_bytes() for part in (0, 1, 0)))
    with av.open(str(path)) as container:
        assert len(container.streams) == 1
    assert numbered.numbers(list(read_video(path))) == 3 * list(range(40))


def test_frame_rates(numbered, folder: Path) -> None:
    assert probe(written(numbered, folder, "x264.mp4")).fps == 25
    assert probe(written(numbered, folder, "palette.gif")).fps == 10
    dv = numbered.write(folder / "tape.dv", 10, codec="dvvideo", size=(720, 576))
    assert probe(dv).fps == 25
    # 39 intervals of 1560 + 11 * (39 % 3) ms, and the last frame's own 40 or so.
    assert probe(written(numbered, folder, "variable-rate.mp4")).fps == pytest.approx(25, abs=1)


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV writes no rotation"
)
@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotation_flag(numbered, tmp_path: Path, angle: int) -> None:
    plain = list(read_video(numbered.write(tmp_path / "plain.mp4", 3)))
    path = numbered.write(tmp_path / "turned.mp4", 3, rotation=angle)
    info = probe(path)
    assert (info.width, info.height) == ((48, 64) if angle % 180 else (64, 48))
    turned = list(read_video(path))
    for before, after in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(np.rot90(before, angle // 90), after)
    # OpenCV turns by its own reading of the flag.
    seen, other = cv2.VideoCapture(str(path)).read()
    assert seen
    assert np.abs(other[:, :, ::-1].astype(int) - turned[0]).mean() < 3


def test_clip_in_any_order(numbered, folder: Path) -> None:
    path = written(numbered, folder, "x264.mp4")
    clip = read_frames_at(path, [7, 3, 3, 39, 0])
    assert clip.shape == (5, 48, 64, 3)
    assert numbered.numbers(list(clip)) == [7, 3, 3, 39, 0]


@settings(max_examples=25, deadline=None)
@given(frames=st.lists(st.integers(0, 511), min_size=1, max_size=6))
def test_clip_across_long_gaps(numbered, folder: Path, frames: list[int]) -> None:
    path = folder / "long.mp4"
    if not path.exists():
        numbered.write(path, 512)
    assert numbered.numbers(list(read_frames_at(path, frames))) == frames


def test_clip_outside_the_video(numbered, folder: Path) -> None:
    path = written(numbered, folder, "x264.mp4")
    for frames, message in (
        ([40], "frame 40 was requested, but the video ends"),
        ([-1], "frame -1 was requested; frames count from 0"),
        ([], "an empty list of frames"),
    ):
        with pytest.raises(InputError, match=message):
            read_frames_at(path, frames)


def test_frames_hidden_by_an_edit_list_do_not_count(numbered, tmp_path: Path) -> None:
    early = numbered.write(tmp_path / "early.mp4", times=[40 * i - 200 for i in range(40)])
    late = numbered.write(tmp_path / "late.mp4")
    content = bytearray(late.read_bytes())
    # The edit's duration in ms, of the box "elst": show the first 800 ms, 20 frames.
    struct.pack_into(">I", content, content.index(b"elst") + 12, 800)
    late.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path, shown in ((early, list(range(5, 40))), (late, list(range(20)))):
            assert numbered.numbers(list(read_video(path))) == shown
            for start, number in enumerate(shown):
                assert numbered.number(next(read_video(path, start))) == number


def test_tiny_and_single(numbered, tmp_path: Path) -> None:
    tiny = numbered.write(tmp_path / "tiny.mp4", 3, size=(4, 4))
    assert [frame.shape for frame in read_video(tiny)] == [(4, 4, 3)] * 3
    single = numbered.write(tmp_path / "single.mp4", 1)
    assert len(list(read_video(single))) == 1
    assert probe(single).num_frames == 1


def test_a_change_of_size_is_resized_with_one_warning(numbered, tmp_path: Path) -> None:
    parts = [numbered.write(tmp_path / f"{width}.h264", 10, size=(width, 48)) for width in (64, 96)]
    path = tmp_path / "changing.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.warns(UserWarning, match=r"frame 10 is 96x48, .* 64x48") as caught:
        frames = list(read_video(path))
    assert len(caught) == 1
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert numbered.numbers(frames) == [*range(10), *range(10)]


def test_first_of_several_streams(numbered, tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        streams: list[Any] = [container.add_stream("libx264", rate=25) for _ in range(2)]
        sizes = ((64, 0), (96, 500))
        for stream, (width, _) in zip(streams, sizes):
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
        for stream, (width, offset) in zip(streams, sizes):
            for number in range(10):
                frame = numbered.frame(number + offset, width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode(None))
        container.mux(sound.encode(_silence()))
        container.mux(sound.encode(None))
    assert numbered.numbers(list(read_video(path))) == list(range(10))


def _silence() -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    frame.rate = 44100
    return frame


def test_names_that_look_like_addresses(numbered, tmp_path: Path) -> None:
    path = numbered.write(tmp_path / "plain.mp4", 2).rename(tmp_path / "take:1 100%d.mp4")
    assert len(list(read_video(path))) == 2


def _missing(path: Path) -> None:
    pass


def _folder(path: Path) -> None:
    path.mkdir()


def _empty(path: Path) -> None:
    path.touch()


def _text(path: Path) -> None:
    path.write_text("not a video\n" * 100)


def _audio(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        container.mux(stream.encode(_silence()))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_missing, "file not found"),
        (_folder, "is a folder; give a video file"),
        (_empty, "is empty"),
        (_text, "cannot be opened as a video .*; it may be damaged"),
        (_audio, "contains no video, only other streams"),
    ],
)
def test_bad_input(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "bad.mp4"
    make(path)
    for use in (probe, count_frames, lambda path: read_frames_at(path, [3])):
        with pytest.raises(InputError, match=message) as caught:
            use(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_text_is_not_painted(tmp_path: Path) -> None:
    path = tmp_path / "readme.txt"
    _text(path)
    with pytest.raises(InputError, match="contains no video"):
        probe(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cut.mp4", {"container_options": {"movflags": "faststart"}}),
        ("cut.mkv", {"rate": 5}),
        ("cut.avi", {"codec": "mpeg4"}),
    ],
)
@pytest.mark.parametrize("threads", [1, 4])
def test_a_truncated_video_gives_what_it_has(
    numbered, tmp_path: Path, name: str, options: dict[str, Any], threads: int
) -> None:
    path = numbered.write(tmp_path / name, 60, size=(160, 120), **options)
    whole = list(read_video(path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    with pytest.warns(UserWarning, match=r"could be read") as caught:
        frames = list(read_video(path, threads=threads))
    assert len(caught) == 1
    assert 20 < len(frames) < 60
    assert f"; {len(frames)} " in str(caught[0].message)
    # The last few may be concealed.
    np.testing.assert_array_equal(frames[: len(frames) - 3], whole[: len(frames) - 3])
    with pytest.warns(UserWarning, match="could be read"):
        later = list(read_video(path, 10, threads=threads))
    assert len(later) == len(frames) - 10
    np.testing.assert_array_equal(later[0], whole[10])


def test_damage_in_the_middle_is_borne(numbered, tmp_path: Path) -> None:
    path = numbered.write(tmp_path / "scratched.mp4", 60, size=(160, 120))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    counts = set()
    for threads in (1, 4):
        with pytest.warns(UserWarning, match="could be read"):
            counts.add(len(list(read_video(path, threads=threads))))
    assert len(counts) == 1
    assert 40 < counts.pop() < 60


def test_colors_that_cannot_be_converted(
    numbered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise av.FFmpegError(95, "Operation not supported")

    monkeypatch.setattr(reader, "image_to_rgb", refused)
    path = numbered.write(tmp_path / "a.mp4", 3)
    with pytest.raises(InputError, match=r"a\.mp4: frame 0 has colors .* \(Operation not"):
        list(read_video(path))


def test_no_decodable_frame(numbered, tmp_path: Path) -> None:
    path = numbered.write(tmp_path / "a.mp4", container_options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 20])
    for use in (probe, count_frames):
        with pytest.raises(InputError, match="none of its frames can be decoded"):
            use(path)


def test_memory_does_not_grow_with_length(numbered, tmp_path: Path) -> None:
    path = numbered.write(tmp_path / "long.avi", 400, size=(640, 480), codec="mpeg4")
    program = (
        "import sys, psutil\n"
        "from actiontubes.datasets.video.reader import read_video\n"
        "from pathlib import Path\n"
        "process, used = psutil.Process(), []\n"
        "for frame in read_video(Path(sys.argv[1]), threads=2):\n"
        "    used.append(process.memory_info().rss)\n"
        "print(len(used), max(used) - used[50])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    frames, growth = map(int, done.stdout.split())
    assert frames == 400
    assert growth < 20 * 640 * 480 * 3  # 20 of the 350 frames that followed


def _real_videos(shared) -> list[Path]:
    folders = [shared("ucf101-24/videos"), shared("videos")]
    return sorted(path for folder in folders for path in folder.iterdir())


def test_real_frame_counts(shared) -> None:
    counts = {
        name.split("/")[-1]: int(entry["numf"])
        for name, entry in load_pickle(shared("ucf101-24/pyannot.pkl")).items()
    }
    videos = sorted(shared("ucf101-24/videos").iterdir())
    assert videos
    for path in videos:
        assert count_frames(path) == counts[path.stem]
        assert probe(path).num_frames in (counts[path.stem], None)


def test_real_videos_are_sought_exactly(shared) -> None:
    for path in _real_videos(shared):
        frames = dict(enumerate(read_video(path))) if "skeleton" not in path.name else {}
        for start in list(frames)[::29]:
            picture = next(read_video(path, start, start + 1, threads=1))
            np.testing.assert_array_equal(picture, frames[start])


def test_real_colours_are_opencvs(shared) -> None:
    for path in _real_videos(shared):
        seen, other = cv2.VideoCapture(str(path)).read()
        assert seen
        ours = next(read_video(path, 0, 1))
        assert np.abs(other[:, :, ::-1].astype(int) - ours).mean() < 2, path


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.mp4\n",
        "ffconcat version 1.0\nfile a.mp4\n",
        '<?xml version="1.0"?>\n<MPD type="static"></MPD>',
    ],
)
def test_a_playlist_that_names_itself(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_text(content)
    with pytest.raises(InputError, match=r"a\.mp4: is a playlist, not a video"):
        probe(path)
