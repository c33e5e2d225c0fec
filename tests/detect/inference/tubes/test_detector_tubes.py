"""The tubes of a trained detector: hand-made tables, and where looks are few."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.table_writer import RESULT_FILES
from actiontubes.datasets.tables import (
    Actions,
    Detections,
    Tracks,
    Tubes,
    Videos,
    concatenate_rows,
    select_rows,
)
from actiontubes.datasets.video.reader import read_video
from actiontubes.datasets.video.resize import resize
from actiontubes.detect.inference.clip_batches import iter_clip_batches
from actiontubes.detect.inference.clip_geometry import KEY_FRAMES_PER_CLIP, ClipGeometry
from actiontubes.detect.inference.predictor import (
    TorchPredictor,
    postprocess,
)
from actiontubes.detect.inference.tubes import detector_tubes as tubes_module
from actiontubes.detect.inference.tubes.detector_tubes import (
    TubeOptions,
    detector_tubes,
    extend_to_end,
    interpolated_detections,
)
from actiontubes.detect.inference.tubes.tube_store import TubeStore
from actiontubes.detect.inference.tubes.video_output import VideoSummary
from actiontubes.detect.inference.video_input import open_video_file
from actiontubes.detect.linking.greedy import ACT, GreedyLinker
from actiontubes.detect.linking.interface import LinkConfig, Linker
from actiontubes.detect.linking.linker import link, make_linker
from actiontubes.detect.linking.viterbi import PENG, ViterbiLinker
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.detect.people.person_boxes import FunctionSource

pytestmark = pytest.mark.usefixtures("one_thread")


def moving(frames: list[int], score: float = 0.5, label: int = 0) -> Detections:
    """A box that moves a pixel a frame."""
    frame = np.array(frames, np.int32)
    corner = np.stack([frame, np.full(len(frame), 10)], axis=1).astype(float)
    return Detections(
        np.zeros_like(frame), frame, np.full_like(frame, label), np.full(len(frame), score),
        np.concatenate([corner, corner + np.array([20, 30])], axis=1), ("clip",), ("run", "sit"),
    )  # fmt: skip


def linker_for(name: str, key_frame_step: int) -> Linker:
    return make_linker(name, LinkConfig(key_frame_step=key_frame_step))


def test_between_key_frames_and_after_the_last() -> None:
    found = moving(list(range(0, 24, 6)))  # 0, 6, 12, 18 of 22 frames
    tubes = extend_to_end(link(found, linker_for("act", 6)), 6, 22)
    assert tubes.frame.tolist() == list(range(22)) and not tubes.tube.any()
    np.testing.assert_allclose(tubes.boxes[:, 0], [*range(19), 18, 18, 18])
    others = interpolated_detections(tubes, 6)
    assert others.frame.tolist() == [frame for frame in range(22) if frame % 6]
    np.testing.assert_allclose(others.boxes, tubes.boxes[others.frame])
    np.testing.assert_allclose(others.score, 0.5)


def test_a_tube_that_ended_is_not_held() -> None:
    tubes = link(moving(list(range(0, 20))), "act")
    assert extend_to_end(tubes, 4, 30).frame.max() == 19
    # On frame 28 stands the last look of 30 frames, on 20 that of 22.
    assert extend_to_end(link(moving([0, 4, 8, 12, 16, 20]), "act"), 4, 22).frame.max() == 21


@pytest.mark.parametrize("key_frame_step", [1, 2, 5, 9, 20])
def test_a_greedy_tube_outlives_one_missed_key_frame(key_frame_step: int) -> None:
    keys = [k * key_frame_step for k in range(20)]
    missed = [frame for k, frame in enumerate(keys) if k not in (7, 13)]
    slow = replace(moving(missed), boxes=np.tile([10.0, 10, 30, 40], (len(missed), 1)))
    tubes = link(slow, linker_for("act", key_frame_step))
    assert not tubes.tube.any() and tubes.frame.tolist() == list(range(keys[-1] + 1))
    paths, tubes_of_all = linker_for("peng", key_frame_step), linker_for("act", 1)
    assert isinstance(paths, ViterbiLinker) and paths.config == PENG
    assert isinstance(tubes_of_all, GreedyLinker) and tubes_of_all.config == ACT


def test_stored_tubes_come_best_first(tmp_path: Path) -> None:
    weak, strong = link(moving(list(range(16)), 0.3)), link(moving(list(range(18)), 0.9, label=1))
    names = weak.label_names
    with TemporaryFile() as file:
        store = TubeStore(file)
        store.add(weak)
        store.add(replace(strong, tube=strong.tube + 7))
        (tubes,) = store.iter_by_score("clip", names, {1: 1, 2: 2})
        assert tubes.tube_score is not None
        assert tubes.tube.tolist() == [0] * 18 + [1] * 16
        assert tubes.frame.tolist() == [*range(18), *range(16)]
        assert tubes.label.tolist() == [1] * 18 + [0] * 16
        np.testing.assert_array_equal(tubes.boxes, np.concatenate([strong.boxes, weak.boxes]))
        assert tubes.tube_score.tolist() == pytest.approx([0.9] * 18 + [0.3] * 16)
        assert tubes.person is not None and tubes.person.tolist() == [2] * 18 + [1] * 16
        spans = store.spans()
        assert (spans.label.tolist(), spans.first.tolist()) == ([0, 1], [0, 0])
        assert (spans.last.tolist(), spans.person.tolist()) == ([15, 17], [1, 2])
        assert spans.score.tolist() == pytest.approx([0.3, 0.9])
    with TemporaryFile() as file:
        (none,) = TubeStore(file).iter_by_score("clip", names, {})
        assert len(none) == 0 and none.boxes.shape == (0, 4)


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    settings = DetectorConfig(
        labels=("run", "sit"), backbone="i2d", width_multiplier=0.0625, endpoint="Mixed_3c",
        proposals="external", hidden=8, frames=4, size=(48, 64), norm="batch",
    )  # fmt: skip
    return build_detector(settings).eval()


def people(frames: np.ndarray, first: int) -> list[np.ndarray]:
    return [np.array([[5, 5, 40, 45, 0.9]], np.float32) for _ in frames]


def find(
    video: Path,
    detector: Detector,
    out: Path,
    source: FunctionSource | None = None,
    **options: Any,
) -> tuple[Detections, Tubes, Videos, VideoSummary]:
    """Runs a detector over a video and reads the tables that it wrote."""
    out.mkdir(exist_ok=True)
    opened, predictor = open_video_file(video, "a"), TorchPredictor(detector)
    with detector_tubes(opened, predictor, source, TubeOptions(**options), progress=False) as run:
        summary = run(out)
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULT_FILES)
    tables = [
        read_table(kind, out / name)
        for kind, name in zip((Detections, Tubes, Videos), RESULT_FILES)
    ]
    return (*tables, summary)


def test_tables_of_a_video(numbered, detector: Detector, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "a.mp4", 31, size=(128, 96))
    found, tubes, videos, summary = find(
        video, detector, tmp_path / "out", FunctionSource(people), threshold=0
    )
    assert (videos.num_frames, videos.width, videos.height) == (31, 128, 96)
    # One box a frame and class, which refinement moves by little.
    assert sorted(zip(found.label, found.frame)) == [
        (label, frame) for label in (0, 1) for frame in range(31)
    ]
    assert np.abs(found.boxes - [5, 5, 40, 45]).max() < 15
    assert np.bincount(tubes.tube).tolist() == [31, 31]
    assert tubes.tube_score is not None and summary.tubes == 2 and summary.num_frames == 31
    first = np.unique(tubes.tube, return_index=True)[1]
    assert (np.diff(tubes.tube_score[first]) <= 0).all()
    labels = read_table(Actions, tmp_path / "out" / "labels.csv")
    names = [labels.label_names[i] for i in labels.label]
    assert names == [tubes.label_names[i] for i in tubes.label[first]]
    assert labels.score.tolist() == tubes.tube_score[first].tolist()
    # One of the two, which are there all along, is what the person does.
    actions = read_table(Actions, tmp_path / "out" / "actions.csv")
    assert actions.label_names == (names[0],) and actions.score.tolist() == [tubes.tube_score[0]]
    assert (actions.first_frame, actions.last_frame) == (0, 30)
    assert (actions.start, actions.end) == (0, pytest.approx(31 / videos.fps[0]))
    tracks = read_table(Tracks, tmp_path / "out" / "tracks.parquet")
    assert tracks.frame.tolist() == list(range(31)) and set(tracks.person) == {1}
    assert found.person is not None and set(found.person) == {1} == set(tubes.person)


def test_nothing_above_the_threshold(numbered, detector: Detector, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "a.mp4", 20)
    found, tubes, _, summary = find(
        video, detector, tmp_path / "out", FunctionSource(people), threshold=1
    )
    assert len(found) == 40 and len(tubes) == 0 and summary.best == ()
    config = LinkConfig(num_frames=20)
    best = f"{link(found, make_linker('persons', config)).tube_score.max():.2f}"
    assert summary.text() == (
        f"a: 1 person, 0 actions, 20 frames (no score reaches --threshold 1; the best {best})"
    )
    for name in ("labels", "actions"):
        assert len(read_table(Actions, tmp_path / "out" / f"{name}.csv")) == 0


@pytest.mark.parametrize(("count", "key_frame_step"), [(1, 1), (10, 1), (14, 4)])
def test_tubes_of_a_short_video(
    numbered, detector: Detector, tmp_path: Path, count: int, key_frame_step: int
) -> None:
    """The linker's least length is for videos that have as many frames."""
    video = numbered.write(tmp_path / "a.mp4", count)
    _, tubes, _, summary = find(
        video, detector, tmp_path / "out", FunctionSource(people), threshold=0,
        key_frame_step=key_frame_step,
    )  # fmt: skip
    assert np.bincount(tubes.tube).tolist() == [count, count] and summary.note == ""


def test_what_is_left_out_is_counted(numbered, detector: Detector, tmp_path: Path) -> None:
    def briefly(frames: np.ndarray, first: int) -> list[np.ndarray]:
        present = np.arange(first, first + len(frames)) < 3
        return [boxes[: int(here)] for boxes, here in zip(people(frames, first), present)]

    def nobody(frames: np.ndarray, first: int) -> list[np.ndarray]:
        return [np.empty((0, 5), np.float32) for _ in frames]

    video = numbered.write(tmp_path / "a.mp4", 20)
    for source, note in (
        (briefly, "left out: 1 tube, too short or of too low a score"),
        (nobody, "nothing detected"),
    ):
        *_, summary = find(video, detector, tmp_path / "out", FunctionSource(source), threshold=0)
        assert summary.tubes == 0 and summary.note == note


def jumping(frames: np.ndarray, first: int) -> list[np.ndarray]:
    """Two people, of whom one is away now and then, and one elsewhere after every 25 frames."""
    found = []
    for frame in range(first, first + len(frames)):
        x = 60.0 * (frame // 25 % 2)
        here = np.array([[x + 5, 5, x + 40, 60, 0.9], [20, 30, 50, 90, 0.8]], np.float32)
        found.append(here[: 1 + (frame % 40 < 28)])
    return found


@pytest.mark.parametrize("linker", ["persons", "act", "singh", "peng"])
@pytest.mark.parametrize("key_frame_step", [1, 4])
def test_batches_give_the_tubes_of_the_whole_video(
    numbered, detector: Detector, tmp_path: Path, monkeypatch, linker: str, key_frame_step: int
) -> None:
    """Linked as frames come, with threads, against all at once; several batches."""
    detector = deepcopy(detector)
    torch.nn.init.normal_(detector.head.scores.weight, std=1.0)
    count = 2 * KEY_FRAMES_PER_CLIP + 45
    # The drawn numbers change much from frame to frame.
    monkeypatch.setattr(tubes_module, "mark_cuts", lambda frames: ((f, False) for f in frames))
    video = numbered.write(tmp_path / "a.mp4", count, size=(128, 96))
    small = [
        (resize(frame, 48, 64), jumping(frame[None], number)[0][:, :4] / 2)
        for number, frame in enumerate(read_video(video))
    ]
    whole = concatenate_rows(
        [
            postprocess(TorchPredictor(detector).predict(batch), detector.config)
            for batch in iter_clip_batches(
                small, ClipGeometry(detector.config), key_frame_step=key_frame_step
            )
        ]
    )
    zeros = np.zeros(len(whole.frame), np.int32)
    boxes = whole.boxes * [128, 96, 128, 96]
    all_at_once = Detections(
        zeros, whole.frame, whole.label, whole.score, boxes, ("a",), ("run", "sit")
    )
    middle = 0.05 if linker == "persons" else float(np.median(whole.score))

    options: dict[str, Any] = {
        "linker": linker,
        "key_frame_step": key_frame_step,
        "threshold": middle,
    }
    found, tubes, _, _ = find(video, detector, tmp_path / "out", FunctionSource(jumping), **options)
    at_key_frames = select_rows(found, found.frame % key_frame_step == 0)
    for column in ("frame", "label", "score", "boxes"):
        np.testing.assert_array_equal(getattr(at_key_frames, column), getattr(all_at_once, column))
    per_class = "act" if linker == "persons" else linker
    linked = link(all_at_once, linker_for(per_class, key_frame_step))
    linked = extend_to_end(linked, key_frame_step, count)
    assert len(found) - len(at_key_frames) == (linked.frame % key_frame_step != 0).sum()
    least = 0 if linker == "persons" else middle  # of boxes; of tubes it leaves out whole ones
    strong = select_rows(all_at_once, all_at_once.score >= least)
    expected = extend_to_end(
        link(strong, linker_for(linker, key_frame_step)), key_frame_step, count
    )
    if linker == "persons":
        expected = select_rows(expected, expected.tube_score >= middle)
    assert tubes.tube_score is not None and expected.tube_score is not None
    assert len(np.unique(tubes.tube)) == len(np.unique(expected.tube)) > 0
    order = np.lexsort((expected.frame, expected.tube, expected.label, -expected.tube_score))
    expected = select_rows(expected, order)
    for column in ("frame", "score", "boxes", "tube_score"):
        np.testing.assert_array_equal(getattr(tubes, column), getattr(expected, column))
    names = [np.array(table.label_names)[table.label].tolist() for table in (tubes, expected)]
    assert names[0] == names[1]


@pytest.mark.parametrize("key_frame_step", [1, 4])
def test_nobody_goes_on_over_a_cut(
    numbered, detector: Detector, tmp_path: Path, monkeypatch, key_frame_step: int
) -> None:
    """Neither tracks nor tubes, whose last box is held up to the cut."""
    monkeypatch.setattr(
        tubes_module, "mark_cuts", lambda frames: ((f, n == 22) for n, f in enumerate(frames))
    )
    video = numbered.write(tmp_path / "a.mp4", 31, size=(128, 96))
    found, tubes, *_ = find(
        video, detector, tmp_path / "out", FunctionSource(people), threshold=0,
        key_frame_step=key_frame_step,
    )  # fmt: skip
    tracks = read_table(Tracks, tmp_path / "out" / "tracks.parquet")
    after = -(-22 // key_frame_step) * key_frame_step
    for table in (tracks, tubes):
        spans = [table.frame[table.person == person] for person in (1, 2)]
        assert [(span.min(), span.max()) for span in spans] == [(0, 21), (after, 30)]
    assert found.person is not None
    at_key_frames = found.frame % key_frame_step == 0
    assert found.person[at_key_frames].tolist() == [
        1 if frame < 22 else 2 for frame in found.frame[at_key_frames]
    ]


def test_what_cannot_be(numbered, detector: Detector, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "a.mp4", 3)
    with pytest.raises(
        InputError, match="this detector does not find people itself; give --proposals"
    ):
        find(video, detector, tmp_path / "out")
    with pytest.raises(InputError, match="--key-frame-step 0: must be 1 or more"):
        find(video, detector, tmp_path / "out", FunctionSource(people), key_frame_step=0)
    with pytest.raises(InputError, match="file not found"):
        find(tmp_path / "absent.mp4", detector, tmp_path / "out", FunctionSource(people))
    assert not list((tmp_path / "out").iterdir())
