"""Display matrices: each multiple of 90 degrees, mirrored or not, and what is none of them."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from actiontubes.datasets.video.media import measure_video
from actiontubes.datasets.video.orientation import matrix_orientation
from actiontubes.datasets.video.reader import probe, read_video

STORED = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
# By hand: where the matrix (a b, c d) takes each pixel of STORED.
SHOWN = {
    (1, 0, 0, 1): [[1, 2, 3], [4, 5, 6]],
    (-1, 0, 0, 1): [[3, 2, 1], [6, 5, 4]],
    (1, 0, 0, -1): [[4, 5, 6], [1, 2, 3]],
    (-1, 0, 0, -1): [[6, 5, 4], [3, 2, 1]],
    (0, 1, 1, 0): [[1, 4], [2, 5], [3, 6]],
    (0, 1, -1, 0): [[4, 1], [5, 2], [6, 3]],
    (0, -1, 1, 0): [[3, 6], [2, 5], [1, 4]],
    (0, -1, -1, 0): [[6, 3], [5, 2], [4, 1]],
}


def shown(a: float, b: float, c: float, d: float) -> list[list[int]]:
    matrix = tuple(round(value * 65536) for value in (a, b, 0, c, d, 0, 5, 7, 16384))
    return matrix_orientation(matrix).apply(STORED[..., None])[..., 0].tolist()


@pytest.mark.parametrize("matrix", SHOWN)
def test_matrices_are_followed(matrix: tuple[int, ...]) -> None:
    assert shown(*matrix) == SHOWN[matrix]
    a, b, c, d = matrix
    assert shown(2 * a, 2 * b, c / 3, d / 3) == SHOWN[matrix], "a scaled one"
    for degrees, expected in ((0.3, SHOWN[matrix]), (2.0, STORED.tolist())):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turned = (cos * a - sin * b, sin * a + cos * b, cos * c - sin * d, sin * c + cos * d)
        assert shown(*turned) == expected


def test_what_the_first_frame_says_holds_for_all(numbered, tmp_path: Path) -> None:
    """H.264 may say the orientation in the stream, with its first frame alone."""
    source, path = numbered.write(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.size]
        times = packets[0].pts, packets[0].dts, packets[0].time_base
        said = "h264_metadata=display_orientation=insert:rotate=90"
        packets[0] = av.Packet(bytes(av.BitStreamFilterContext(said, stream).filter(packets[0])[0]))
        packets[0].pts, packets[0].dts, packets[0].time_base = times
        packets[0].is_keyframe = True
        for packet in packets:
            packet.stream = copy
            new.mux(packet)
    whole = list(read_video(path))
    assert whole[0].shape == whole[-1].shape == (64, 48, 3)
    np.testing.assert_array_equal(next(read_video(path, 30)), whole[30])


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0, 1, 0), (1, 1, -1, 1), (1, 0, 0.2, 1)])
def test_other_matrices_leave_frames_as_stored(matrix: tuple[float, ...]) -> None:
    assert shown(*matrix) == STORED.tolist()


@pytest.mark.parametrize(
    "matrix", [(1, 0, 0, -1), (0, 1, 1, 0), (0, -1, 1, 0), (0.98, 0.2, -0.2, 0.98)]
)
def test_files_are_read_as_players_show_them(
    numbered, tmp_path: Path, matrix: tuple[float, ...]
) -> None:
    path = numbered.write(tmp_path / "a.mp4", 20)
    plain = list(read_video(path))
    content = bytearray(path.read_bytes())
    # The matrix stands 40 bytes behind version and flags of the track's header, version 0.
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(value * 65536) for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    seen = list(read_video(path))
    orientation = matrix_orientation((a, b, 0, c, d, 0, 0, 0, 1 << 30))
    np.testing.assert_array_equal(np.stack(seen), [orientation.apply(each) for each in plain])
    np.testing.assert_array_equal(next(read_video(path, 15)), seen[15])
    height, width = seen[0].shape[:2]
    assert (probe(path).width, probe(path).height) == (width, height)
    assert measure_video(path) == (20, width, height)
