"""Live runs: what is found, linked, drawn and kept, and that memory does not grow."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.live_source import LiveFrame, LiveSource
from actiontubes.datasets.video.reader import probe, read_timed_video
from actiontubes.detect.inference.clip_batches import ClipBatch, iter_clip_batches
from actiontubes.detect.inference.clip_geometry import ClipGeometry
from actiontubes.detect.inference.live.batches import iter_live_batches
from actiontubes.detect.inference.live.run import run_live
from actiontubes.detect.inference.live.tracker import LIVE_LINKING, LiveTubeTracker
from actiontubes.detect.inference.live.writers import TubeCsvWriter, VideoPartWriter
from actiontubes.detect.inference.predictor import KeyFramePrediction
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.people.person_boxes import FunctionSource
from actiontubes.detect.visualization.frame import draw_frame
from torch import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = DetectorConfig(labels=("walk", "run"), frames=8, size=(24, 32))


def make_frame(number: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), number % 256, np.uint8)


def frames(numbers: range, rate: float = 25.0) -> Iterator[LiveFrame]:
    for number in numbers:
        yield LiveFrame(number, number / rate, make_frame(number))


class Walker:
    """A detector that sees one person walk to the right and back, and what its clips hold.

    The person is at a place that follows from the key frame's brightness, which is its number.
    """

    proposals, device = "own", "cpu"

    def __init__(self, config: DetectorConfig = CONFIG) -> None:
        self.config = config
        self.clips: list[Tensor] = []

    def predict(self, batch: ClipBatch) -> list[KeyFramePrediction]:
        self.clips.append(batch.clips[0, :, 0, 0, 0])
        predictions = []
        for frame, index, position in zip(
            batch.frame_numbers.tolist(), batch.clip_index, batch.key_frame_positions.long()
        ):
            number = batch.clips[index, position, 0, 0, 0].item()
            left = abs(number % 64 - 32) / 4
            predictions.append(
                KeyFramePrediction(
                    frame=frame, boxes=torch.tensor([[[left, 4, left + 12, 20]]]),
                    probabilities=torch.tensor([[0.9, 0.6]]), actionness=torch.tensor([0.9]),
                )
            )  # fmt: skip
        return predictions


class ExternalWalker(Walker):
    proposals = "external"


def test_batches_are_those_of_a_whole_video() -> None:
    """With the whole lookahead, live clips are those of `iter_clip_batches`."""
    whole = [(make_frame(number), None) for number in range(40)]
    expected = list(iter_clip_batches(whole, ClipGeometry(CONFIG), key_frames_per_clip=8))
    live = list(iter_live_batches(frames(range(40)), CONFIG, step=8, lookahead=8))
    assert [len(keys) for _, keys in live] == [8] * 5
    for (batch, keys), other in zip(live, expected, strict=True):
        np.testing.assert_array_equal([key.number for key in keys], other.frame_numbers)
        assert torch.equal(batch.clips, other.clips)
        assert torch.equal(batch.key_frame_positions, other.key_frame_positions.double())


@pytest.mark.parametrize(("step", "lookahead"), [(4, 0), (8, 2), (5, None), (16, 100)])
@pytest.mark.parametrize("frame_step", [1, 2])
def test_every_frame_is_a_key_frame_once(step: int, lookahead: int | None, frame_step: int) -> None:
    config = DetectorConfig(labels=("walk",), frames=8, size=(24, 32),
                                frame_step=frame_step)  # fmt: skip
    came = 0

    def counted() -> Iterator[LiveFrame]:
        nonlocal came
        for frame in frames(range(50)):
            came += 1
            yield frame

    seen = []
    lengths = set()
    most = 8 * frame_step + 4 if lookahead is None else lookahead
    for batch, keys in iter_live_batches(counted(), config, step=step, lookahead=lookahead):
        lengths.add(batch.clips.shape[1])
        for place, frame in zip(batch.key_frame_positions.tolist(), keys, strict=True):
            here = batch.clips[0, int(place), 0, 0, 0].item()
            assert here == frame.number - frame.number % 1 - (place % 1) * frame_step
            seen.append(frame.number)
        # The first of a clip's key frames waited for the others, and for what it looks ahead.
        assert came - keys[0].number <= max(step + 3 * frame_step, 4) * 2 + most
    assert seen == list(range(50)) and len(lengths) == 1


def test_a_smaller_lookahead_waits_less() -> None:
    """After frame 3 four frames are there: the clip ends with the last of them again and again."""
    few = iter_live_batches(frames(range(100)), CONFIG, step=4, lookahead=0)
    batch, keys = next(few)
    assert [key.number for key in keys] == [0, 1, 2, 3]
    assert batch.clips[0, :, 0, 0, 0].tolist() == [0] * 8 + [0, 1, 2, 3] + [3] * 8
    batch, _ = next(few)
    assert batch.clips[0, :, 0, 0, 0].tolist() == [0] * 4 + list(range(8)) + [7] * 8


def test_people_in_pixels_of_the_clip() -> None:
    def people(frames: np.ndarray, first: int) -> list[np.ndarray]:
        return [np.array([[first, 0, 64, 48, 0.9]], np.float32) for _ in frames]

    big = (LiveFrame(each, each / 25, make_frame(each, 48, 64)) for each in range(4))
    batch, _ = next(
        iter_live_batches(big, CONFIG, step=4, lookahead=0, source=FunctionSource(people))
    )
    assert [boxes.tolist() for boxes in batch.person_boxes] == [
        [[each / 2, 0.0, 32.0, 24.0]] for each in range(4)
    ]


def walked(tubes: LiveTubeTracker, numbers: range) -> list[np.ndarray]:
    """Feeds a person who stands still, as two labels."""
    box = np.array([[4.0, 4, 20, 20], [4, 4, 20, 20]])
    return [
        tubes.add(frame, np.array([0, 1]), np.array([0.9, 0.6]), box, scale=1)
        for frame in frames(numbers)
    ]


def test_tubes_grow_end_and_are_numbered_on() -> None:
    tubes = LiveTubeTracker(("walk", "run"))
    drawn = walked(tubes, range(20))
    # Drawn once it is long enough to count, under its better label.
    unlike = [not np.array_equal(d, f.image) for d, f in zip(drawn, frames(range(20)))]
    assert unlike == [False] * (LIVE_LINKING.min_length - 1) + [True] * (
        21 - LIVE_LINKING.min_length
    )
    alone = draw_frame(make_frame(19), np.array([[4, 4, 20, 20]]), ["walk"], [0.9], [0], scale=1)
    np.testing.assert_array_equal(drawn[19], alone)
    assert len(tubes.pop_closed()[0]) == 0
    nobody = np.empty(0)
    for frame in frames(range(20, 40)):
        tubes.add(frame, nobody.astype(int), nobody, np.empty((0, 4)))
    ended, times = tubes.pop_closed()
    assert sorted(set(ended.tube.tolist())) == [0, 1] and len(ended) == 40
    np.testing.assert_allclose(times, ended.frame / 25)
    walked(tubes, range(40, 60))
    last, times = tubes.finish()
    assert sorted(set(last.tube.tolist())) == [2, 3] and set(last.frame) == set(range(40, 60))
    np.testing.assert_allclose(times, last.frame / 25)
    assert len(tubes.finish()[0]) == 0


def test_dropped_frames_lie_on_lines() -> None:
    tubes = LiveTubeTracker(("walk", "run"))
    walked(tubes, range(0, 90, 9))
    found, times = tubes.finish()
    assert (found.frame[found.tube == 0] == np.arange(82)).all()
    np.testing.assert_allclose(times, found.frame / 25)


def test_no_tube_grows_for_ever() -> None:
    """Two seconds at 25 frames a second: 51 frames, then another tube of the same person."""
    tubes = LiveTubeTracker(("walk", "run"), max_seconds=2)
    walked(tubes, range(120))
    found, _ = tubes.pop_closed()
    rest, _ = tubes.finish()
    lengths = np.bincount(found.tube)
    assert lengths.tolist() == [51] * 4
    assert set(rest.frame) == set(range(102, 120)) and rest.tube.min() == 4


@pytest.mark.parametrize("own_proposals", [True, False])
def test_a_run(own_proposals: bool, tmp_path: Path) -> None:
    source = LiveSource(lambda: (make_frame(each) for each in range(100)), "camera 0", drop=False)
    detector = Walker() if own_proposals else ExternalWalker()
    kept: list[Tubes] = []
    shown: list[float] = []

    def show(drawn: np.ndarray, when: float) -> None:
        assert drawn.shape == (96, 128, 3) and drawn.dtype == np.uint8
        shown.append(when)

    def everywhere(frames: np.ndarray, first: int) -> list[np.ndarray]:
        return [np.array([[0, 0, 32, 24, 1.0]], np.float32) for _ in frames]

    summary = run_live(
        source, detector, None if own_proposals else FunctionSource(everywhere),  # type: ignore[arg-type]
        tube_sink=lambda tubes, _: kept.append(tubes), frame_sinks=[show], progress=False,
    )  # fmt: skip
    assert (summary.frames, summary.dropped, summary.tubes) == (100, 0, 2)
    assert len(shown) == 100 and shown == sorted(shown)
    (tubes,) = kept
    assert set(tubes.frame) == set(range(100))
    for label, score in ((0, 0.9), (1, 0.6)):
        rows = tubes.label == label
        left = np.abs(tubes.frame[rows] % 64 - 32) / 4
        np.testing.assert_allclose(tubes.boxes[rows, 0], left)
        np.testing.assert_allclose(tubes.score[rows], score, atol=1e-6)
    assert 0 < summary.latency(0.5) <= summary.latency(0.95) < 60


def test_the_end_of_a_run(tmp_path: Path) -> None:
    """So many frames; an error of the source after what was found is kept; wrong detectors."""
    endless = lambda: (make_frame(each) for each in range(10**9))  # noqa: E731
    summary = run_live(LiveSource(endless, "0", drop=False), Walker(), max_frames=30,
                       progress=False)  # type: ignore[arg-type] # fmt: skip
    assert summary.frames == 30

    def unplugged() -> Iterator[np.ndarray]:
        yield from (make_frame(each) for each in range(30))
        raise InputError("camera 0: unplugged")

    kept: list[Tubes] = []
    with pytest.raises(InputError, match="unplugged"):
        run_live(
            LiveSource(unplugged, "0", drop=False), Walker(),  # type: ignore[arg-type]
            tube_sink=lambda tubes, _: kept.append(tubes), progress=False,
        )  # fmt: skip
    assert sum(map(len, kept)) >= 2 * 16
    source = LiveSource(endless, "0")
    with pytest.raises(InputError, match="does not find people itself; give --proposals"):
        run_live(source, ExternalWalker(), progress=False)  # type: ignore[arg-type]
    flow = DetectorConfig(labels=("walk",), streams="flow", proposals="external")
    with pytest.raises(InputError, match="RGB detectors only"):
        run_live(source, Walker(flow), progress=False)  # type: ignore[arg-type]


def test_a_change_of_size(tmp_path: Path) -> None:
    def changing() -> Iterator[np.ndarray]:
        yield from (make_frame(each) for each in range(36))
        yield from (make_frame(each, 48, 64) for each in range(36, 70))

    kept: list[Tubes] = []
    source = LiveSource(changing, "camera 0", drop=False)
    with VideoPartWriter(tmp_path) as parts, pytest.warns(UserWarning) as warned:
        run_live(
            source, Walker(), frame_sinks=[parts.write],  # type: ignore[arg-type]
            tube_sink=lambda tubes, _: kept.append(tubes), scale=2, progress=False,
        )  # fmt: skip
    (line,) = [str(each.message) for each in warned]
    assert line == (
        "camera 0: the frame size changed from 32x24 to 64x48 at frame 36; all "
        "tubes end and new ones start"
    )
    first, second = kept
    assert set(first.frame) == set(range(36)) and set(second.frame) == set(range(36, 70))
    assert first.boxes.max() <= 32 < second.boxes.max()
    infos = [probe(path) for path in sorted(tmp_path.iterdir())]
    assert [(i.path.name, i.width, i.height, i.num_frames) for i in infos] == [
        ("live-0001.mp4", 64, 48, 36), ("live-0002.mp4", 128, 96, 34),
    ]  # fmt: skip


def test_drawn_parts(tmp_path: Path) -> None:
    """A part ends with its minutes; times are those of the frames; an error leaves it whole."""
    with pytest.raises(ZeroDivisionError), VideoPartWriter(tmp_path, minutes=0.1) as parts:
        for each in range(20):
            parts.write(make_frame(each * 10, 48, 64), 100 + each / 2)
        assert sorted(path.name for path in tmp_path.glob("live-*")) == ["live-0001.mp4"]
        raise ZeroDivisionError
    times = [
        [time for time, _ in read_timed_video(path)] for path in sorted(tmp_path.glob("live-*"))
    ]
    np.testing.assert_allclose(times[0], np.arange(12) / 2, atol=0.01)
    np.testing.assert_allclose(times[1], np.arange(8) / 2, atol=0.01)
    assert not list(tmp_path.glob(".*"))


def some_tubes(first: int) -> tuple[Tubes, np.ndarray]:
    tubes = LiveTubeTracker(("walk, or run", "run"))
    walked(tubes, range(10))
    found, times = tubes.finish()
    return Tubes(**{**vars(found), "tube": found.tube + first}), times


def test_the_file_of_tubes(tmp_path: Path) -> None:
    path = tmp_path / "out" / "tubes.csv"
    file = TubeCsvWriter(path)
    assert len(read_table(Tubes, path)) == 0
    for first in (0, 2):
        file.append(*some_tubes(first))
    table = read_table(Tubes, path)
    assert set(table.label_names) == {"walk, or run", "run"} and table.video_names == ("live",)
    assert np.bincount(table.tube).tolist() == [10] * 4
    np.testing.assert_allclose(table.boxes, np.tile([4.0, 4, 20, 20], (40, 1)))
    times = [float(line.rsplit(",", 1)[1]) for line in path.read_text().splitlines()[1:]]
    assert np.ptp(times) == pytest.approx(9 / 25, abs=2e-3)
    with pytest.raises(InputError, match=r"tubes.csv: already exists; choose another --out"):
        TubeCsvWriter(path)


def test_a_full_disk_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = TubeCsvWriter(tmp_path / "tubes.csv")
    file.append(*some_tubes(0))
    before = file.path.read_bytes()
    opened = Path.open

    class Full:
        """Takes half of what it is given, then nothing."""

        def __init__(self, file, error: bool) -> None:  # type: ignore[no-untyped-def]
            self.file, self.error = file, error

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            written = self.file.write(data[: len(data) // 2])
            if self.error:
                raise OSError(28, "No space left on device")
            return written

        def tell(self) -> int:
            return self.file.tell()

    for error in (True, False):
        monkeypatch.setattr(Path, "open", lambda *a, error=error, **k: Full(opened(*a, **k), error))
        with pytest.raises(InputError, match=r"tubes.csv: could not be written"):
            file.append(*some_tubes(2))
        monkeypatch.undo()
        assert file.path.read_bytes() == before
    file.append(*some_tubes(2))
    assert len(read_table(Tubes, file.path)) == 40


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """A looped crowd through linker, drawing and table. A day: ACTIONTUBES_LIVE_FRAMES=500000."""
    count = int(os.environ.get("ACTIONTUBES_LIVE_FRAMES", 1500))
    rng = np.random.default_rng(0)
    tubes = LiveTubeTracker(("walk", "run"), max_seconds=10, trail=True)
    file = TubeCsvWriter(tmp_path / "tubes.csv")
    # People who come and go every few seconds, one who never leaves, and some noise.
    begin = rng.integers(0, 200, 6)
    sizes, rows = [], 0  # sizes in megabytes
    tracemalloc.start()
    for frame in frames(range(count)):
        loop = frame.number % 300
        there = np.array([True, *((loop - begin) % 200 < 120)])
        left = np.array([0, *(begin % 25)]) + loop % 5 * 0.2
        boxes = np.stack([left, left * 0 + 2, left + 6, left * 0 + 20], axis=1)[there]
        noise = rng.uniform(0, 10, (3, 4)) + np.array([0, 0, 10, 10])
        boxes = np.concatenate([boxes, noise])
        label, score = rng.integers(0, 2, len(boxes)), rng.uniform(0.3, 0.9, len(boxes))
        tubes.add(frame, label, score, boxes, scale=1)
        if frame.number % 25 == 24:
            ended = tubes.pop_closed()
            file.append(*ended)
            rows += len(ended[0])
        if frame.number % (count // 10) == count // 10 - 1:
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0] / 1e6)
    tracemalloc.stop()
    print(f"{count} frames, {rows} rows, MB: {[round(size, 1) for size in sizes]}")
    assert rows > count
    # Ten seconds of open tubes are there after the first tenth.
    assert max(sizes[5:]) < max(sizes[:5]) + 0.1, sizes
