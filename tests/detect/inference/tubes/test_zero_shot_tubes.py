"""Videos to tubes, with a tiny network and people who are drawn into the frames."""

from __future__ import annotations

import csv
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
from actiontubes.datasets.table_writer import OUTPUT_FILES, RESULT_FILES, concatenate_tables
from actiontubes.datasets.tables import Detections, Tubes, Videos
from actiontubes.detect.inference.tubes import video_output
from actiontubes.detect.inference.tubes import zero_shot_tubes as video_tubes
from actiontubes.detect.inference.tubes.zero_shot_tubes import (
    LABELS_KEPT,
    LENGTH_PRIOR,
    MARGIN,
    trunk_size,
    zero_shot_tubes,
)
from actiontubes.detect.inference.video_input import open_video_file
from actiontubes.detect.model.zero_shot import (
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
        videos, tubes, detections: the tables.
        tube_scores: (P,) of each tube.
        label_scores: (P, labels) of each tube, as labels.csv has them, 0 where it has none.
        note: what the summary says was left out.
    """

    videos: Videos
    tubes: Tubes
    detections: Detections
    tube_scores: np.ndarray
    label_scores: np.ndarray
    note: str


Boxes = TypeVar("Boxes", Detections, Tubes)


def read_boxes(kind: type[Boxes], path: Path, names: tuple[str, ...]) -> Boxes:
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
    detections = read_boxes(Detections, folder / OUTPUT_FILES.detections, labels.names)
    tubes = read_boxes(Tubes, folder / OUTPUT_FILES.tubes, labels.names)
    first = np.unique(tubes.tube, return_index=True)[1]
    assert summary.tubes == len(first) and tubes.tube_score is not None
    shares = np.zeros((len(first), len(labels.names)))
    with (folder / OUTPUT_FILES.labels).open(newline="") as file:
        for row in csv.DictReader(file):
            shares[int(row["tube"]), labels.names.index(row["label"])] = float(row["score"])
    videos = read_table(Videos, folder / OUTPUT_FILES.videos)
    note = summary.note
    return Found(videos, tubes, detections, tubes.tube_score[first], shares, note)


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


@pytest.mark.parametrize(
    ("length", "clips"),
    [
        (1, [(0, 1)]),
        (40, [(0, 40)]),
        (64, [(0, 64)]),
        (65, [(0, 64), (1, 65)]),
        (128, [(0, 64), (64, 128)]),
        (150, [(0, 64), (64, 128), (86, 150)]),
    ],
)
def test_each_frame_is_evidence_once(
    numbered, model, no_trunk, monkeypatch, tmp_path: Path, length: int, clips: list
) -> None:
    counted: list[int] = []

    def logits(model, clip, boxes, present):
        counted.extend(np.array(no_trunk[-1])[present[0]])
        return person_logits(model, clip, boxes, present)

    monkeypatch.setattr(video_tubes, "person_logits", logits)
    video = numbered.write(tmp_path / "clip.mp4", length)
    result = find(video, model, whole_frame, clip_length=64)
    assert no_trunk == [list(range(*clip)) for clip in clips]
    assert counted == list(range(length))
    assert result.videos.num_frames == length
    assert result.tubes.frame.tolist() == list(range(length))
    assert (result.tubes.boxes == [0, 0, 64, 48]).all()


def test_evidence_of_a_person_is_taken_while_they_are_there(
    numbered, model, no_trunk, monkeypatch, tmp_path: Path
) -> None:
    seen: dict[float, list[int]] = {}

    def logits(model, clip, boxes, present):
        assert not boxes[~present].any() and (boxes[present] <= 1).all()
        for own, there in zip(boxes, present):
            height = round(float(own[there][0, 3] - own[there][0, 1]) * 48)
            seen.setdefault(height, []).extend(np.array(no_trunk[-1])[there].tolist())
        return person_logits(model, clip, boxes, present)

    monkeypatch.setattr(video_tubes, "person_logits", logits)
    video = numbered.write(tmp_path / "clip.mp4", 100)
    find(video, model, walkers, clip_length=48)
    # In clips of 48 frames: 0 to 47, 48 to 95, and 52 to 99 for the last four.
    assert no_trunk[-1] == list(range(52, 100))
    assert seen[30] == list(range(100))
    # Frames in which they are followed are processed before it is known that they never return.
    assert seen[22][:40] == list(range(20, 60)) and seen[22] == sorted(set(seen[22]))


def test_scores_by_hand(numbered, model, no_trunk, tmp_path: Path) -> None:
    """Constant features: every person's own logits are the classifier's on them, in all clips."""
    video = numbered.write(tmp_path / "clip.mp4", 100)
    result = find(video, model, walkers, scene_weight=0.25)
    own = model.head.fc(torch.linspace(-1, 1, model.trunk.out_channels)).detach().numpy()
    logits = 0.75 * own + 0.25 * np.linspace(0, 1, len(CLASSES))
    share = np.exp(logits) / np.exp(logits).sum()
    listed = np.where(share >= np.sort(share)[-LABELS_KEPT], share, 0)
    np.testing.assert_allclose(result.label_scores, [listed, listed], rtol=1e-4, atol=1e-6)
    # The mean of the person's scores, with LENGTH_PRIOR frames of score 0 besides.
    best = share.max()
    second = np.float32([0.6 + k / 1000 for k in range(20, 60)]).sum()
    expected = [best * 90 / (100 + LENGTH_PRIOR), best * second / (40 + LENGTH_PRIOR)]
    np.testing.assert_allclose(result.tube_scores, expected, rtol=1e-4)
    assert result.tubes.label_names[result.tubes.label[0]] == CLASSES[share.argmax()]


def worthless(frames: np.ndarray, first: int) -> list[np.ndarray]:
    return [0 * people for people in walkers(frames, first)]


def check(result: Found) -> None:
    """What holds of the tables whatever was found."""
    tubes, detections = result.tubes, result.detections
    (width,), (height,) = result.videos.width, result.videos.height
    for table in (tubes, detections):
        assert table.video_names == ("clip",)[: len(table)] and not table.video.any()
        assert (table.boxes >= 0).all() and (table.boxes <= [width, height] * 2).all()
        assert (table.boxes[:, :2] <= table.boxes[:, 2:]).all()
        assert table.score is not None and ((table.score >= 0) & (table.score <= 1)).all()
        assert ((table.frame >= 0) & (table.frame < result.videos.num_frames)).all()
    assert (np.diff(result.tube_scores) <= 0).all()
    assert np.unique(tubes.tube).tolist() == list(range(len(result.tube_scores)))
    assert (result.label_scores.sum(axis=1) < 1 + 1e-5).all()
    kept = min(LABELS_KEPT, result.label_scores.shape[1])
    for number, (score, shares) in enumerate(zip(result.tube_scores, result.label_scores)):
        rows = tubes.tube == number
        assert (np.diff(tubes.frame[rows]) == 1).all()
        assert (tubes.label[rows] == shares.argmax()).all()
        assert tubes.tube_score is not None and (tubes.tube_score[rows] == score).all()
    # Each box of a tube stands among the detections with its best labels, and nothing else does.
    assert len(detections) == kept * len(tubes)
    by_box = {
        (int(frame), tuple(box), int(label)): score
        for frame, box, label, score in zip(
            detections.frame, detections.boxes, detections.label, detections.score
        )
    }
    assert len(by_box) == len(detections)
    for i in range(len(tubes)):
        shares = result.label_scores[tubes.tube[i]]
        person = tubes.score[i] / shares.max()
        for label in np.argsort(-shares, kind="stable")[:kept]:
            found = by_box[int(tubes.frame[i]), tuple(tubes.boxes[i]), int(label)]
            assert found == pytest.approx(person * shares[label], abs=1e-5)


def test_tables_of_a_video(numbered, model, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 80)
    result = find(video, model, walkers, threshold=0)
    check(result)
    long, short = (result.tubes.frame[result.tubes.tube == number] for number in (0, 1))
    assert (long[0], long[-1], short[0], short[-1]) == (0, 79, 20, 59)
    # Boxes are larger than the detector's by MARGIN, about their centres, inside the frame.
    np.testing.assert_allclose(
        result.tubes.boxes[40], [10 - 10 * (MARGIN - 1), 25 - 15 * MARGIN, 20 + 10 * MARGIN,
                                 25 + 15 * MARGIN], rtol=1e-6,
    )  # fmt: skip
    assert result.tubes.boxes[result.tubes.tube == 1][:, 2].max() == 64
    expected = 0.9 * result.label_scores[0].max()
    np.testing.assert_allclose(result.tubes.score[long], expected, rtol=1e-5)


def test_batches_do_not_matter(numbered, model, no_trunk, monkeypatch, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 75)
    results = []
    for size in (1, 7, 8, 100):
        monkeypatch.setattr(video_tubes, "_FRAMES_PER_BATCH", size)
        results.append(find(video, model, walkers))
    for other in results[1:]:
        for name in ("frame", "label", "boxes", "tube", "score", "tube_score"):
            np.testing.assert_array_equal(
                getattr(results[0].tubes, name), getattr(other.tubes, name)
            )
        np.testing.assert_array_equal(results[0].detections.score, other.detections.score)


def passers_by(frames: np.ndarray, first: int) -> list[np.ndarray]:
    """Somebody who stays, missed by the detector now and then, and others who come and go."""
    found = []
    for number in range(first, first + len(frames)):
        people = [[40, 5, 60, 40, 0.7]] if number % 23 > 4 else []
        if number % 40 < 12:
            people.append([number % 40, 10, number % 40 + 20, 40, 0.6 + number / 1000])
        found.append(np.array(people, np.float32).reshape(-1, 5))
    return found


@pytest.mark.parametrize("clip_length", [16, 64])
def test_boxes_on_disk_are_the_same(
    numbered, model, no_trunk, monkeypatch, tmp_path: Path, clip_length: int
) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 170)
    options = {"clip_length": clip_length, "threshold": 0}
    whole = find(video, model, passers_by, **options)
    check(whole)
    assert len(whole.tube_scores) > 5 and np.bincount(whole.tubes.tube).max() > 60
    monkeypatch.setattr(video_tubes, "_BOXES_IN_MEMORY", 3)
    monkeypatch.setattr(video_output, "_ROWS_AT_ONCE", 20)
    parts = find(video, model, passers_by, **options)
    for name in ("frame", "label", "boxes", "tube", "score", "tube_score"):
        np.testing.assert_array_equal(getattr(parts.tubes, name), getattr(whole.tubes, name))
    for name in ("frame", "label", "boxes", "score"):
        np.testing.assert_array_equal(
            getattr(parts.detections, name), getattr(whole.detections, name)
        )
    np.testing.assert_array_equal(parts.label_scores, whole.label_scores)


def test_who_leaves_early_is_scored_by_the_whole_length(
    numbered, model, no_trunk, tmp_path: Path
) -> None:
    """In a video of fewer frames than `LENGTH_PRIOR`, of which 16 are known when they are gone."""

    def early(frames: np.ndarray, first: int) -> list[np.ndarray]:
        box = np.array([[5, 5, 30, 40, 0.75]], np.float32)
        return [box[: number < 10] for number in range(first, first + len(frames))]

    video = numbered.write(tmp_path / "clip.mp4", 48)
    result = find(video, model, early, clip_length=8, threshold=0)
    share = result.label_scores.max()
    np.testing.assert_allclose(result.tube_scores, [share * 7.5 / (10 + 48)], rtol=1e-5)


def test_the_scene_alone_gives_all_the_same_labels(numbered, model, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 60)
    own, scene = (
        find(video, model, walkers, scene_weight=share, threshold=0).label_scores
        for share in (0, 1)
    )
    np.testing.assert_allclose(scene[0], scene[1], atol=1.1e-6)  # six digits in the file
    assert np.abs(own[0] - own[1]).max() > 1e-3


def test_fewer_labels_than_are_kept(numbered, model, no_trunk, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 30)
    result = find(video, model, walkers, labels=LabelGroups(("a", "b"), ((0, 1), (4,))))
    assert result.label_scores.shape == (2, 2)
    check(result)


def test_weak_tubes_are_dropped(numbered, model, no_trunk, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 70)
    both = find(video, model, walkers, threshold=0)
    assert len(both.tube_scores) == 2
    assert both.note == ""
    better = find(video, model, walkers, threshold=both.tube_scores.mean())
    assert better.tube_scores == both.tube_scores[:1]
    assert better.note.startswith("people left out: 1 with a score below 0.")


def test_the_best_tube_comes_first(numbered, model, no_trunk, tmp_path: Path) -> None:
    def weak_and_strong(frames: np.ndarray, first: int) -> list[np.ndarray]:
        boxes = np.array([[2, 2, 20, 40, 0.55], [40, 2, 60, 40, 0.95]], np.float32)
        return [boxes[: 1 + (number >= 5)] for number in range(first, first + len(frames))]

    video = numbered.write(tmp_path / "clip.mp4", 50)
    result = find(video, model, weak_and_strong, threshold=0)
    check(result)
    starts = [int(result.tubes.frame[result.tubes.tube == number].min()) for number in (0, 1)]
    assert starts == [5, 0]


@pytest.mark.parametrize("people", [nobody, worthless])
def test_nobody(numbered, model, no_trunk, tmp_path: Path, people: Proposals) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 70)
    result = find(video, model, people)
    assert len(result.tubes) == len(result.detections) == len(result.tube_scores) == 0
    assert no_trunk == [], "the trunk ran for nobody"
    check(result)
    assert result.tubes.boxes.shape == result.detections.boxes.shape == (0, 4)
    assert result.videos.video == ("clip",) and result.videos.num_frames.tolist() == [70]
    why = "no people found" if people is nobody else "no person score reaches 0.5; the best 0.00"
    assert result.note == why


def test_a_flicker_is_nobody(numbered, model, no_trunk, tmp_path: Path) -> None:
    def flicker(frames: np.ndarray, first: int) -> list[np.ndarray]:
        people = nobody(frames, first)
        if first <= 10 < first + len(frames):
            people[10 - first] = np.array([[5, 5, 30, 40, 0.9]], np.float32)
        return people

    video = numbered.write(tmp_path / "clip.mp4", 70)
    result = find(video, model, flicker)
    assert len(result.tubes) == 0 and result.note == "people left out: 1 on fewer than 8 frames"


def test_files_of_several_videos_agree(
    concatenate_tubes, numbered, model, no_trunk, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("b", "none", "a")]
    summaries = []
    for folder, people in zip(folders, (walkers, nobody, whole_frame)):
        folder.mkdir()
        video = numbered.write(folder.with_suffix(".mp4"), 70)
        labels = select_labels(None, CLASSES)
        summaries.append(
            zero_shot_tubes(
                open_video_file(video, folder.name),
                model,
                FunctionSource(people),
                labels,
                folder,
                progress=False,
            )
        )
    assert [summary.tubes for summary in summaries] == [2, 0, 1]
    concatenate_tables(folders, [summary.tubes for summary in summaries], tmp_path)
    tubes = read_table(Tubes, tmp_path / "tubes.parquet")
    expected = concatenate_tubes(
        [read_table(Tubes, folder / "tubes.parquet") for folder in folders]
    )
    for column in ("frame", "boxes", "tube", "score", "tube_score"):
        np.testing.assert_array_equal(getattr(tubes, column), getattr(expected, column))
    found = read_table(Detections, tmp_path / "detections.parquet")
    assert set(found.video_names) == {"a", "b"}
    with (tmp_path / "labels.csv").open(newline="") as file:
        lists = list(csv.DictReader(file))
    assert len(lists) == 3 * LABELS_KEPT
    for number in range(3):
        (video,) = set(tubes.video[tubes.tube == number])
        (label,) = set(tubes.label[tubes.tube == number])
        own = [row for row in lists if int(row["tube"]) == number]
        assert {row["video"] for row in own} == {tubes.video_names[video]}
        assert own[0]["label"] == tubes.label_names[label]
        scores = [float(row["score"]) for row in own]
        assert scores == sorted(scores, reverse=True)
    videos = read_table(Videos, tmp_path / "videos.parquet")
    assert videos.video == ("b", "none", "a") and videos.num_frames.tolist() == [70] * 3


@pytest.mark.parametrize("size", [(4, 4), (2, 90), (300, 2)])
def test_tiny_frames(numbered, model, tmp_path: Path, size: tuple[int, int]) -> None:
    video = numbered.write(tmp_path / "clip.mp4", 12, size=size)

    def there(frames: np.ndarray, first: int) -> list[np.ndarray]:
        """Somebody who fills the frame, and is missed by the detector in the last frames."""
        people = [np.array([[0, 0, *size, 1]], np.float32)] * 9 + nobody(frames, 0)
        return people[first : first + len(frames)]

    result = find(video, model, there, clip_length=16)
    assert len(result.tubes) == 9
    check(result)


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
