"""Videos to tubes, with a tiny network and people who are drawn into the frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.table_writer import OUTPUT_FILES, RESULT_FILES
from actiontubes.datasets.tables import Actions, Detections, Tracks, Tubes, Videos
from actiontubes.detect.inference.tubes import row_file, tube_store
from actiontubes.detect.inference.tubes import zero_shot_tubes as video_tubes
from actiontubes.detect.inference.tubes.video_output import VideoSummary
from actiontubes.detect.inference.tubes.video_tables import LABELS_KEPT
from actiontubes.detect.inference.tubes.zero_shot_tubes import (
    MARGIN,
    PERSON_POWER,
    trunk_size,
    zero_shot_tubes,
)
from actiontubes.detect.inference.video_input import open_video_file
from actiontubes.detect.model.zero_shot import (
    ACTOR_SHARE,
    ACTOR_SLOPE,
    TEMPERATURE,
    ClipFeatures,
    LabelGroups,
    person_logits,
    select_labels,
)
from actiontubes.detect.people.person_boxes import FunctionSource
from hypothesis import given
from hypothesis import strategies as st

CLASSES = ("clap", "dive", "golf", "jump", "kick", "pour", "run")
Proposals = Callable[[np.ndarray, int], list[np.ndarray]]


@pytest.fixture(scope="module")
def model(numbered) -> PretrainedModel:
    torch.manual_seed(0)
    trunk = Trunk(get_variant("i3d"), width_multiplier=0.125)
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():  # the norms' statistics, without which random layers die out
        frames = np.stack([numbered.frame(number, 352, 256) for number in range(32)])
        trunk.train()(torch.from_numpy(frames / 127.5 - 1).float().permute(3, 0, 1, 2)[None])
    trunk.eval()
    head = Classifier(trunk.out_channels, len(CLASSES)).eval()
    return PretrainedModel(trunk, head, CLASSES, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def no_trunk(numbered, monkeypatch) -> list[list[int]]:
    """Spares the trunk's time; returns the frame numbers of each clip that it would have seen."""
    clips: list[list[int]] = []

    def features(model, clip: np.ndarray, device: str, length: int) -> ClipFeatures:
        clips.append(numbered.numbers(clip))
        height, width = clip.shape[1:3]
        channels = model.trunk.out_channels
        shape = (1, channels, -(-length // 8), -(-height // 32), -(-width // 32))
        constant = torch.linspace(-1, 1, channels)[None, :, None, None, None]
        scene = np.linspace(0, 1, len(CLASSES))
        return ClipFeatures(constant.expand(shape), scene, (length, height, width), len(clip))

    monkeypatch.setattr(video_tubes, "clip_features", features)
    return clips


@dataclass(frozen=True)
class Found:
    """The tables of one video, whose labels all index the labels that were asked for.

    Attributes:
        tubes, detections, tracks, actions, labels, videos: the tables.
        summary: what the user reads.
    """

    tubes: Tubes
    detections: Detections
    tracks: Tracks
    actions: Actions
    labels: Actions
    videos: Videos
    summary: VideoSummary


Table = TypeVar("Table", Detections, Tubes, Actions)


def read_labeled(kind: type[Table], path: Path, names: tuple[str, ...]) -> Table:
    table = read_table(kind, path)
    code = np.array([names.index(name) for name in table.label_names], np.int32)
    return replace(table, label=code[table.label], label_names=names)


def whole_frame(frames: np.ndarray, first: int) -> list[np.ndarray]:
    height, width = frames.shape[1:3]
    return [np.array([[0, 0, width, height, 1]], np.float32) for _ in frames]


def find(video: Path, model: PretrainedModel, people: Proposals, **options) -> Found:
    labels = options.pop("labels", select_labels(None, CLASSES))
    folder = video.parent / "found"
    folder.mkdir(exist_ok=True)
    summary = zero_shot_tubes(
        open_video_file(video, "clip"),
        model,
        FunctionSource(people),
        labels,
        folder,
        progress=False,
        **options,
    )
    assert sorted(path.name for path in folder.iterdir()) == sorted(RESULT_FILES)
    result = Found(
        read_labeled(Tubes, folder / OUTPUT_FILES.tubes, labels.names),
        read_labeled(Detections, folder / OUTPUT_FILES.detections, labels.names),
        read_table(Tracks, folder / OUTPUT_FILES.tracks),
        read_labeled(Actions, folder / OUTPUT_FILES.actions, labels.names),
        read_labeled(Actions, folder / OUTPUT_FILES.labels, labels.names),
        read_table(Videos, folder / OUTPUT_FILES.videos),
        summary,
    )
    check(result)
    return result


def check(found: Found) -> None:
    """What holds of the tables whatever was found."""
    tubes, detections, tracks, actions = found.tubes, found.detections, found.tracks, found.actions
    (width,), (height,) = found.videos.width, found.videos.height
    for table in (tubes, detections, tracks):
        assert table.video_names == ("clip",)[: len(table)] and not table.video.any()
        assert (table.boxes >= 0).all() and (table.boxes <= [width, height] * 2).all()
        assert (table.boxes[:, :2] <= table.boxes[:, 2:]).all()
        assert table.score is not None and ((table.score >= 0) & (table.score <= 1)).all()
        assert ((table.frame >= 0) & (table.frame < found.videos.num_frames)).all()
    numbers, first = np.unique(tubes.tube, return_index=True)
    assert tubes.tube_score is not None and tubes.person is not None
    assert numbers.tolist() == list(range(found.summary.tubes))
    assert (np.diff(tubes.tube_score[first]) <= 0).all()
    people = np.unique(tracks.person)
    assert people.tolist() == list(range(1, found.summary.people + 1))
    assert set(tubes.person) == set(actions.person) == set(found.labels.person) <= set(people)
    starts = [tracks.frame[tracks.person == person].min() for person in people]
    assert starts == sorted(starts)
    # One thing at a time, with the score of its tube, on some of its frames.
    scores = {(tubes.person[i], tubes.label[i], tubes.tube_score[i]) for i in first}
    for i in range(len(actions)):
        assert (actions.person[i], actions.label[i], actions.score[i]) in scores
        is_next = i + 1 < len(actions) and actions.person[i] == actions.person[i + 1]
        assert not is_next or actions.last_frame[i] < actions.first_frame[i + 1]
    fps = found.videos.fps[0]
    np.testing.assert_allclose(actions.start, actions.first_frame / fps, atol=1e-5)
    np.testing.assert_allclose(actions.end, (actions.last_frame + 1) / fps, atol=1e-5)
    assert (np.bincount(found.labels.person) <= LABELS_KEPT).all()


def walkers(frames: np.ndarray, first: int) -> list[np.ndarray]:
    """Two people who walk towards each other; the second appears in frame 20 and leaves in 60."""
    found = []
    for number in range(first, first + len(frames)):
        people = [[number / 4, 10, number / 4 + 20, 40, 0.9]]
        if 20 <= number < 60:
            people.append([60 - number / 3, 8, 64, 30, 0.6 + number / 1000])
        found.append(np.array(people, np.float32))
    return found


def nobody(frames: np.ndarray, first: int) -> list[np.ndarray]:
    return [np.empty((0, 5), np.float32) for _ in frames]


def worthless(frames: np.ndarray, first: int) -> list[np.ndarray]:
    return [0 * people for people in walkers(frames, first)]


@pytest.fixture
def no_cuts(monkeypatch) -> None:
    """The drawn numbers change much from frame to frame."""
    monkeypatch.setattr(
        video_tubes, "mark_cuts", lambda frames: ((frame, False) for frame in frames)
    )


@pytest.mark.parametrize(
    ("length", "clips"),
    [
        (1, [(0, 1)]),
        (64, [(0, 64)]),
        (65, [(0, 64), (1, 65)]),
        (150, [(0, 64), (64, 128), (86, 150)]),
    ],
)
@pytest.mark.usefixtures("no_cuts")
def test_each_frame_is_scored_once(
    numbered, model, no_trunk, monkeypatch, tmp_path: Path, length: int, clips: list
) -> None:
    counted: list[int] = []

    def logits(model, clip, boxes, present):
        counted.extend(np.array(no_trunk[-1])[present[0]])
        return person_logits(model, clip, boxes, present)

    monkeypatch.setattr(video_tubes, "person_logits", logits)
    video = numbered.write(tmp_path / "clip.mp4", length)
    result = find(video, model, whole_frame, clip_length=64, threshold=0)
    assert no_trunk == [list(range(*clip)) for clip in clips]
    assert counted == list(range(length))
    assert result.videos.num_frames == length
    assert result.tracks.frame.tolist() == list(range(length))
    assert (result.tubes.boxes == [0, 0, 64, 48]).all()
    assert len(result.detections) == LABELS_KEPT * length


@pytest.mark.usefixtures("no_cuts")
def test_scores_by_hand(numbered, model, no_trunk, tmp_path: Path) -> None:
    """Constant features: everyone's own logits are the classifier's, and nobody is the only one."""
    video = numbered.write(tmp_path / "clip.mp4", 100)
    result = find(video, model, walkers, scene_weight=0.25, threshold=0)
    own = model.head.fc(torch.linspace(-1, 1, model.trunk.out_channels)).detach().numpy()
    logits = (0.75 * own + 0.25 * np.linspace(0, 1, len(CLASSES))) / TEMPERATURE
    share = np.exp(logits) / np.exp(logits).sum() / (1 + np.exp(-ACTOR_SLOPE * (1 - ACTOR_SHARE)))
    best = np.sort(share)[-LABELS_KEPT:]
    for person, score in ((1, 0.9), (2, 0.62)):
        first = result.detections.person == person
        first &= result.detections.frame == 20
        np.testing.assert_allclose(
            np.sort(result.detections.score[first]), score**PERSON_POWER * best, rtol=1e-4
        )
    assert set(result.actions.label) == {share.argmax()} and len(result.actions) == 2
    assert result.actions.first_frame.tolist() == [0, 20]
    assert result.actions.last_frame.tolist() == [99, 59]


@pytest.mark.usefixtures("no_cuts")
def test_tables_of_a_video(numbered, model, no_trunk, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 80)
    result = find(video, model, walkers, threshold=0)
    assert np.bincount(result.tracks.person).tolist() == [0, 80, 40]
    # Boxes of tubes are larger than the detector's by MARGIN, about their centers, in the frame.
    (row,) = np.flatnonzero((result.tracks.person == 1) & (result.tracks.frame == 40))
    np.testing.assert_allclose(result.tracks.boxes[row], [10, 10, 30, 40], atol=1e-3)
    rows = (result.tubes.person == 1) & (result.tubes.frame == 40)
    np.testing.assert_allclose(
        result.tubes.boxes[rows][0], [20 - 10 * MARGIN, 25 - 15 * MARGIN, 20 + 10 * MARGIN,
                                      25 + 15 * MARGIN], atol=1e-3,
    )  # fmt: skip
    assert result.tubes.boxes[result.tubes.person == 2][:, 2].max() == 64


@pytest.mark.usefixtures("no_cuts")
def test_batches_do_not_matter(numbered, model, no_trunk, monkeypatch, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 75)
    results = []
    for size in (1, 7, 100):
        monkeypatch.setattr(video_tubes, "_FRAMES_PER_BATCH", size)
        for module in (row_file, tube_store):
            monkeypatch.setattr(module, "_ROWS_AT_ONCE", 20 * size)
        results.append(find(video, model, walkers, threshold=0))
    for other in results[1:]:
        for table in ("tubes", "detections", "tracks", "actions", "labels"):
            for name, values in vars(getattr(results[0], table)).items():
                np.testing.assert_array_equal(values, getattr(getattr(other, table), name))


def test_no_clip_and_nobody_goes_on_over_a_cut(
    numbered, model, no_trunk, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        video_tubes, "mark_cuts", lambda frames: ((f, n == 70) for n, f in enumerate(frames))
    )
    video = numbered.write(tmp_path / "clip.mp4", 100)
    result = find(video, model, whole_frame, threshold=0)
    assert no_trunk == [list(range(64)), list(range(6, 70)), list(range(70, 100))]
    for person, (first, last) in {1: (0, 69), 2: (70, 99)}.items():
        frames = result.tracks.frame[result.tracks.person == person]
        assert (frames.min(), frames.max()) == (first, last)


@pytest.mark.usefixtures("no_cuts")
def test_who_does_nothing_likely_is_in_tracks_alone(
    numbered, model, no_trunk, tmp_path: Path
) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 70)
    both = find(video, model, walkers, threshold=0)
    better = find(video, model, walkers, threshold=both.actions.score.mean())
    assert len(both.actions) == 2 and better.actions.person.tolist() == [1]
    assert set(better.tracks.person) == {1, 2} and set(better.labels.person) == {1}
    none = find(video, model, walkers, threshold=1)
    assert len(none.tubes) == len(none.actions) == len(none.labels) == 0
    assert set(none.tracks.person) == {1, 2}
    assert none.summary.text() == "clip: 2 people, 0 actions, 70 frames"


def test_the_scene_alone_gives_all_the_same_labels(numbered, model, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 60)
    options = {"scene_weight": 1, "threshold": 0, "labels": select_labels(CLASSES[:5], CLASSES)}
    scene = find(video, model, walkers, **options).detections
    for frame in (25, 50):
        rows = scene.frame == frame
        labels = [set(scene.label[rows & (scene.person == person)]) for person in (1, 2)]
        assert labels[0] == labels[1]


@pytest.mark.usefixtures("no_cuts")
def test_fewer_labels_than_are_kept(numbered, model, no_trunk, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 30)
    labels = LabelGroups(("a", "b"), ((0, 1), (4,)))
    result = find(video, model, walkers, labels=labels, threshold=0)
    assert len(result.labels) == 4 and len(result.detections) == 2 * (30 + 10)


@pytest.mark.parametrize("people", [nobody, worthless])
@pytest.mark.usefixtures("no_cuts")
def test_nobody(numbered, model, no_trunk, tmp_path: Path, people: Proposals) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 70)
    result = find(video, model, people)
    assert len(result.tubes) == len(result.tracks) == len(result.actions) == 0
    assert result.tubes.boxes.shape == result.tracks.boxes.shape == (0, 4)
    assert result.videos.video == ("clip",) and result.videos.num_frames.tolist() == [70]
    if people is nobody:
        assert no_trunk == [], "the trunk ran for nobody"
        assert result.summary.note == "no people found"


@pytest.mark.usefixtures("no_cuts")
def test_a_flicker_is_nobody(numbered, model, no_trunk, tmp_path: Path) -> None:
    def flicker(frames: np.ndarray, first: int) -> list[np.ndarray]:
        people = nobody(frames, first)
        if first <= 10 < first + len(frames):
            people[10 - first] = np.array([[5, 5, 30, 40, 0.9]], np.float32)
        return people

    video = numbered.write(tmp_path / "clip.mp4", 70)
    result = find(video, model, flicker)
    assert len(result.tracks) == 0
    assert result.summary.note == "people left out: 1 on fewer than 4 frames"


@pytest.mark.parametrize("size", [(4, 4), (2, 90), (300, 2)])
@pytest.mark.usefixtures("no_cuts")
def test_tiny_frames(numbered, model, tmp_path: Path, size: tuple[int, int]) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 12, size=size)

    def there(frames: np.ndarray, first: int) -> list[np.ndarray]:
        """Somebody who fills the frame, and is missed by the detector in the last frames."""
        people = [np.array([[0, 0, *size, 1]], np.float32)] * 9 + nobody(frames, 0)
        return people[first : first + len(frames)]

    result = find(video, model, there, clip_length=16, threshold=0)
    assert len(result.tracks) == 9


def test_no_such_video(model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.mp4: file not found"):
        find(tmp_path / "absent.mp4", model, whole_frame)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_trunks_input_has_the_frames_shape(width: int, height: int) -> None:
    tall, wide = trunk_size(width, height)
    assert tall % 16 == wide % 16 == 0
    assert 32 <= min(tall, wide) <= 256 and max(tall, wide) <= 512
    if max(width, height) <= 2 * min(width, height):
        assert min(tall, wide) == 256
        scale = 256 / min(width, height)
        assert abs(tall - height * scale) <= 8 and abs(wide - width * scale) <= 8


def test_the_trunks_input_for_common_frame_sizes() -> None:
    assert trunk_size(320, 240) == (256, 336)
    assert trunk_size(240, 320) == (336, 256)
    assert trunk_size(1920, 1080) == (256, 448)
    assert trunk_size(4, 4) == (256, 256)
