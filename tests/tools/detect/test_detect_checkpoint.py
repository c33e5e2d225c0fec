"""`actiontubes detect --checkpoint`, and what link, evaluate and visualize make of its tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import save_pretrained
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.tables import Actions, Detections, Tubes, Videos, select_rows
from actiontubes.datasets.video.reader import read_video
from actiontubes.detect.linking.interface import Calibration
from actiontubes.detect.linking.linker import link
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import CALIBRATION, load_detector, save_detector
from actiontubes.detect.model.config import DetectorConfig

TABLES = [
    "actions.csv", "detections.parquet", "labels.csv", "tracks.parquet", "tubes.parquet",
    "videos.parquet",
]  # fmt: skip
CLASSES = ("clap", "dive", "golf")


def files(folder: Path) -> list[str]:
    found = {path.name for path in folder.glob("*") if path.is_file()}
    if TABLES[0] in found and folder.parent.name != "videos":  # the page is of these tables
        found.remove("index.html")
    return sorted(found)


def sorted_boxes(table: Detections | Tubes) -> np.ndarray:
    """Frame, label, score and box of each row, in an order of their own."""
    columns = [table.frame, table.label, table.score, *table.boxes.T]
    rows = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    return rows[np.lexsort(rows.round(6).T[::-1])]


@pytest.fixture(scope="module")
def external(tmp_path_factory) -> Path:
    """A detector of made-up classes that needs person boxes."""
    torch.manual_seed(1)
    settings = DetectorConfig(
        labels=CLASSES, backbone="i2d", width_multiplier=0.0625, endpoint="Mixed_3c",
        proposals="external", hidden=8, frames=4, size=(48, 64), norm="batch",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("external") / "detector.safetensors"
    save_detector(build_detector(settings).eval(), path)
    return path


@pytest.fixture
def detect(command, tmp_path: Path, monkeypatch) -> Callable:
    """Runs the command without drawing, and returns its outcome and its tables."""
    monkeypatch.chdir(tmp_path)

    def run(video: Path, checkpoint: Path, *words: object):
        out = tmp_path / "out"
        done = command(
            "detect", video, "--checkpoint", checkpoint, "--out", out, "--tables-only",
            "--overwrite", "--precision", "no", *words,
        )  # fmt: skip
        if done.code:
            return done, None, None
        assert files(out) == TABLES
        detections = read_table(Detections, out / "detections.parquet")
        return done, detections, read_table(Tubes, out / "tubes.parquet")

    return run


def test_the_whole_way(command, figures: Path, trained: Path, tmp_path: Path) -> None:
    """Detected, linked, evaluated and drawn: the numbers are those that train found."""
    video, out = figures / "videos" / "test_000.mp4", tmp_path / "out"
    checkpoint = trained / "detector.safetensors"
    done = command("detect", video, "--checkpoint", checkpoint, "--out", out, "--threshold", 0)
    assert (done.code, done.err) == (0, [])
    assert files(out) == sorted([*TABLES, "test_000.tubes.mp4"])
    assert sum(1 for _ in read_video(out / "test_000.tubes.mp4")) == 52
    drawn_with = json.loads((out / "videos/test_000/drawn.json").read_text())
    assert drawn_with == {"one_label": False, "trail": False}
    videos = read_table(Videos, out / "videos.parquet")
    assert (videos.video, videos.num_frames.tolist()) == (("test_000",), [52])

    detections = read_table(Detections, out / "detections.parquet")
    np.testing.assert_allclose(
        sorted_boxes(detections),
        sorted_boxes(read_table(Detections, trained / "detections.parquet")),
        atol=1e-4,
    )
    assert set(detections.frame) == set(range(52))

    linked = tmp_path / "linked.parquet"
    words = ["--detections", out / "detections.parquet", "--out", linked]
    assert command("link", *words, "--method", "persons").code == 0
    tubes, others = read_table(Tubes, out / "tubes.parquet"), read_table(Tubes, linked)
    np.testing.assert_allclose(sorted_boxes(tubes), sorted_boxes(others), atol=1e-6)
    assert sorted(set(tubes.tube_score)) == pytest.approx(sorted(set(others.tube_score)))
    first = np.unique(tubes.tube, return_index=True)[1]
    assert (np.diff(tubes.tube_score[first]) <= 0).all()
    actions = read_table(Actions, out / "actions.csv")
    assert set(actions.score) <= set(tubes.tube_score[first])
    assert set(actions.person) == set(tubes.person) <= set(range(1, 1 + tubes.person.max()))

    scores = tmp_path / "scores.json"
    done = command(
        "evaluate", "--ground-truth", figures, "--json", scores,
        "--detections", out / "detections.parquet", "--tubes", linked,
    )  # fmt: skip
    assert done.code == 0, done.err
    results = json.loads((trained / "results.json").read_text())
    for measure in ("frame_map", "video_map"):
        assert json.loads(scores.read_text())[measure] == pytest.approx(results[measure], abs=1e-3)

    drawn = tmp_path / "drawn.mp4"
    done = command(
        "visualize", "--video", video, "--tubes", out / "tubes.parquet", "--out", drawn,
        "--ground-truth", figures / "groundtruth.parquet",
    )  # fmt: skip
    assert done.code == 0 and sum(1 for _ in read_video(drawn)) == 52


def test_videos_are_known_by_their_stems(
    concatenate_tubes, command, trained: Path, figures: Path, tmp_path
) -> None:
    """Ground truth names videos with their folders, `detect` by the file alone."""
    truth = read_table(Tubes, figures / "groundtruth.parquet")
    found = read_table(Detections, trained / "detections.parquet")
    write_table(found, tmp_path / "found.parquet")
    scores = []
    for folder in ("", "indoors/"):
        names = tuple(f"{folder}{name}" for name in truth.video_names)
        write_table(replace(truth, video_names=names), tmp_path / "truth.parquet")
        done = command(
            "evaluate", "--ground-truth", tmp_path / "truth.parquet", "--json", tmp_path / "s.json",
            "--detections", tmp_path / "found.parquet",
        )  # fmt: skip
        assert done.code == 0, done.err
        scores.append(json.loads((tmp_path / "s.json").read_text()))
    assert scores[0] == scores[1]
    # Two videos of that stem: which is meant cannot be known.
    doubled = replace(
        concatenate_tubes([truth, truth]),
        video=np.concatenate([truth.video, truth.video + len(truth.video_names)]),
        video_names=tuple(f"{folder}/{name}" for folder in "ab" for name in truth.video_names),
    )
    write_table(doubled, tmp_path / "truth.parquet")
    words = ["--detections", tmp_path / "found.parquet"]
    done = command("evaluate", "--ground-truth", tmp_path / "truth.parquet", *words)
    assert done.code == 2 and "could be a/test_000, b/test_000; write" in done.err[0]


def test_weak_boxes_leave_the_tubes_and_stay_in_the_detections(
    detect, figures: Path, trained: Path
) -> None:
    video, checkpoint = figures / "videos" / "test_000.mp4", trained / "detector.safetensors"
    words = ["--link", "act", "--threshold"]
    _, detections, all_tubes = detect(video, checkpoint, *words, 0)
    middle = float(np.median(all_tubes.score))
    done, same, tubes = detect(video, checkpoint, *words, middle)
    np.testing.assert_array_equal(sorted_boxes(same), sorted_boxes(detections))
    strong = select_rows(detections, detections.score >= middle)
    np.testing.assert_allclose(sorted_boxes(tubes), sorted_boxes(link(strong)), atol=1e-9)
    assert 0 < len(tubes) < len(all_tubes) and tubes.score.min() >= middle
    count = len(np.unique(tubes.tube))
    assert f", {count} action" in done.out.splitlines()[0]


def test_the_threshold_leaves_out_whole_tubes(detect, figures: Path, trained: Path) -> None:
    video, checkpoint = figures / "videos" / "test_000.mp4", trained / "detector.safetensors"
    _, _, all_tubes = detect(video, checkpoint, "--threshold", 0)
    least = float(np.median(all_tubes.tube_score))
    done, _, tubes = detect(video, checkpoint, "--threshold", least)
    expected = select_rows(all_tubes, all_tubes.tube_score >= least)
    np.testing.assert_array_equal(sorted_boxes(tubes), sorted_boxes(expected))
    assert 0 < len(tubes) < len(all_tubes)
    assert f"with scores below {least}" in done.out
    assert tubes.person is not None and tubes.person.min() >= 1


def test_a_checkpoint_brings_its_calibration(
    command, detect, figures: Path, trained: Path, tmp_path: Path
) -> None:
    """`detect` uses it, and `link` where it is told to: the scores are the mapped ones."""
    video, plain = figures / "videos" / "test_000.mp4", trained / "detector.safetensors"
    calibration = Calibration(score_scale=0.5, score_shift=1.0)
    checkpoint = tmp_path / "calibrated.safetensors"
    save_detector(load_detector(plain), checkpoint, {CALIBRATION: asdict(calibration)})
    _, _, before = detect(video, plain, "--threshold", 0)
    _, _, after = detect(video, checkpoint, "--threshold", 0)
    np.testing.assert_array_equal(sorted_boxes(after), sorted_boxes(before))
    np.testing.assert_allclose(
        np.sort(after.tube_score), np.sort(calibration.probability(before.tube_score))
    )
    words = ["link", "--detections", tmp_path / "out" / "detections.parquet"]
    words += ["--out", tmp_path / "linked.parquet", "--calibration"]
    assert command(*words, checkpoint, "--method", "persons").code == 0
    linked = read_table(Tubes, tmp_path / "linked.parquet")
    np.testing.assert_allclose(np.sort(linked.tube_score), np.sort(after.tube_score))
    for path, more, message in (
        (plain, ["--method", "persons"], "has no calibration; train with --calibration-videos"),
        (checkpoint, [], "--calibration: only works with --method persons"),
    ):
        done = command(*words, path, *more)
        assert done.code == 2 and message in done.err[0]


@pytest.mark.parametrize("every", [3, 8, 40])
def test_boxes_between_key_frames_lie_on_lines(
    detect, figures: Path, trained: Path, every: int
) -> None:
    video, checkpoint = figures / "videos" / "test_000.mp4", trained / "detector.safetensors"
    _, each, _ = detect(video, checkpoint)
    words = ["--key-frame-step", every, "--threshold", 0]
    _, detections, tubes = detect(video, checkpoint, *words, "--link", "act")
    on_key = detections.frame % every == 0
    of_each = each.frame % every == 0
    assert on_key.sum() == of_each.sum()
    np.testing.assert_allclose(
        np.sort(detections.score[on_key]), np.sort(each.score[of_each]), atol=1e-5
    )
    assert set(detections.frame) == set(range(52))
    last = 51 // every * every
    for number in np.unique(tubes.tube):
        rows = np.flatnonzero(tubes.tube == number)
        frame, boxes = tubes.frame[rows], tubes.boxes[rows]
        assert (np.diff(frame) == 1).all() and frame[0] % every == 0
        assert frame[-1] == 51 or frame[-1] % every == 0
        # Between two key frames, and behind the last one, the second difference is 0.
        bent = np.abs(np.diff(boxes, 2, axis=0)).max(axis=1, initial=0) > 1e-6
        assert set(frame[1:-1][bent] % every) <= {0}
        np.testing.assert_array_equal(
            boxes[frame > last], np.tile(boxes[-1], ((frame > last).sum(), 1))
        )
    between = tubes.frame % every != 0
    assert between.sum() == len(detections) - on_key.sum()
    _, same, people = detect(video, checkpoint, *words)
    np.testing.assert_array_equal(sorted_boxes(same), sorted_boxes(detections))
    assert (np.diff(people.frame)[np.diff(people.tube) == 0] == 1).all()
    assert people.frame.max() == 51


def test_modes_links_and_precision(detect, figures: Path, trained: Path) -> None:
    video, checkpoint = figures / "videos" / "test_000.mp4", trained / "detector.safetensors"
    _, shared, persons = detect(video, checkpoint, "--threshold", 0)
    _, per_clip, _ = detect(video, checkpoint, "--mode", "per_clip")
    assert set(per_clip.frame) == set(shared.frame)
    assert len(per_clip) == pytest.approx(len(shared), rel=0.2)
    for frame in (0, 25, 51):
        best = [table.score[table.frame == frame].max() for table in (shared, per_clip)]
        assert best[0] == pytest.approx(best[1], abs=0.05)
    found = {
        way: detect(video, checkpoint, "--link", way, "--threshold", 0)[2]
        for way in ("persons", "act", "viterbi", "online")
    }
    np.testing.assert_array_equal(sorted_boxes(found["persons"]), sorted_boxes(persons))
    lengths = {way: np.bincount(tubes.tube) for way, tubes in found.items()}
    assert (lengths["viterbi"] == 52).all()
    assert lengths["act"].min() >= 15 and lengths["online"].min() >= 8
    done, carried, _ = detect(video, checkpoint, "--proposal-step", 4)
    assert done.code == 0 and set(carried.frame) == set(shared.frame)
    assert carried.score.max() == pytest.approx(shared.score.max(), abs=0.1)
    done, half, _ = detect(video, checkpoint, "--precision", "bf16")
    assert done.code == 0 and half.score.max() == pytest.approx(shared.score.max(), abs=0.02)


def test_a_detector_with_external_proposals(
    detect, figures: Path, external: Path, tmp_path: Path
) -> None:
    """Boxes stand on 20 frames of 52: nothing is found elsewhere."""
    people = Detections(
        np.zeros(20, np.int32), np.arange(10, 30, dtype=np.int32), np.zeros(20, np.int32),
        np.full(20, 0.9), np.tile([20.0, 10, 70, 90], (20, 1)), ("test_000",), ("person",),
    )  # fmt: skip
    write_table(people, tmp_path / "people.parquet")
    video = figures / "videos" / "test_000.mp4"
    done, detections, tubes = detect(
        video, external, "--proposals", "people.parquet", "--threshold", 0
    )
    assert (done.code, done.err) == (0, [])
    assert set(detections.frame) == set(range(10, 30))
    assert set(detections.label_names) <= set(CLASSES)
    # One box a frame and class.
    assert len(detections) <= 20 * len(CLASSES)
    assert set(tubes.frame) == set(range(10, 30))
    done, _, _ = detect(video, external, "--proposals", "people.parquet", "--proposal-step", 2)
    assert done.code == 2 and "--proposal-step 2: saves no time with a table" in done.err[-1]
    done, _, _ = detect(video, external, "--proposals", "other.parquet")
    assert done == (2, "", ["actiontubes detect: other.parquet: file or folder not found"])


def test_people_take_the_place_of_own_proposals(detect, figures: Path, trained: Path) -> None:
    video, checkpoint = figures / "videos" / "test_000.mp4", trained / "detector.safetensors"
    _, own, _ = detect(video, checkpoint)
    _, whole, _ = detect(video, checkpoint, "--proposals", "frame")
    boxes_a_class = np.unique(np.stack([whole.frame, whole.label]), axis=1, return_counts=True)[1]
    assert boxes_a_class.max() == 1 and len(own) > len(whole) > 0


def test_other_ground_truth_is_refused(
    command, detect, figures: Path, external: Path, tmp_path: Path
) -> None:
    """Classes of another data set on videos of the same names."""
    words = ["--proposals", "frame", "--threshold", 0]
    _, detections, tubes = detect(figures / "videos" / "test_000.mp4", external, *words)
    assert len(detections) and len(tubes)
    out = tmp_path / "out"
    for option, table in (("--detections", "detections"), ("--tubes", "tubes")):
        path = out / f"{table}.parquet"
        done = command("evaluate", "--ground-truth", figures, option, path)
        assert done.code == 2 and len(done.err) == 1
        assert done.err[0].startswith(f"actiontubes evaluate: {path}: none of its labels (such as ")
        assert "is a class of the ground truth" in done.err[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--checkpoint absent.safetensors", "absent.safetensors: file not found"),
        (
            "--checkpoint text.safetensors",
            "text.safetensors: cannot be read as a .safetensors file",
        ),
        (
            "--checkpoint trained/state.pt",
            "trained/state.pt: cannot be read as a .safetensors file",
        ),
        ("--checkpoint weights.safetensors", "but a classifier; use it as --weights"),
        ("--checkpoint DETECTOR --backbone s3d", "--backbone: cannot be used with --checkpoint"),
        (
            "--checkpoint DETECTOR --weights kinetics400",
            "--weights: cannot be used with --checkpoint",
        ),
        ("--checkpoint DETECTOR --labels dive", "--labels: cannot be used with --checkpoint"),
        (
            "--checkpoint DETECTOR --scene-weight 0",
            "--scene-weight: cannot be used with --checkpoint",
        ),
        # The option's name in version 0.1.
        ("--checkpoint DETECTOR --scene 0", "--scene-weight: cannot be used with --checkpoint"),
        ("--every 4", "--key-frame-step: only works with --checkpoint; leave it out"),
        ("--checkpoint DETECTOR --key-frame-step 0", "--key-frame-step 0: must be 1 or more"),
        ("--checkpoint DETECTOR --proposals yolo", "--proposals yolo: unknown"),
        ("--checkpoint DETECTOR --mode dense", "mode"),
        ("--key-frame-step 4", "--key-frame-step: only works with --checkpoint; leave it out"),
        ("--mode shared", "--mode: only works with --checkpoint; leave it out"),
        ("--link act", "--link: only works with --checkpoint; leave it out"),
        ("--precision bf16", "--precision: only works with --checkpoint; leave it out"),
        ("--config both.yaml", "--weights: cannot be used with --checkpoint"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_any_work(
    command, figures: Path, trained: Path, tmp_path: Path, monkeypatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.safetensors").write_text("Once upon a time there was a detector.\n" * 9)
    (tmp_path / "trained").symlink_to(trained)
    trunk = Trunk(get_variant("i2d"), width_multiplier=0.0625)
    model = PretrainedModel(
        trunk, Classifier(trunk.out_channels, 3), CLASSES, (0.5,) * 3, (0.5,) * 3
    )
    save_pretrained(model, tmp_path / "weights.safetensors")
    detector = trained / "detector.safetensors"
    (tmp_path / "both.yaml").write_text(f"checkpoint: {detector}\nweights: howto100m\n")
    video = figures / "videos" / "test_000.mp4"
    options = [detector if word == "DETECTOR" else word for word in words.split()]
    code, out, err = command("detect", video, "--out", "out", *options)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("actiontubes detect: ") and message in err[0]
    assert not (tmp_path / "out").exists()


def test_bad_videos_among_good_ones(command, numbered, trained: Path, tmp_path: Path) -> None:
    numbered.write(tmp_path / "good.mp4", 20)
    numbered.write(tmp_path / "one.mp4", 1)
    (tmp_path / "empty.mp4").touch()
    names = ["empty", "good", "absent", "one"]
    videos = [tmp_path / f"{name}.mp4" for name in names]
    checkpoint = trained / "detector.safetensors"
    out = tmp_path / "out"
    done = command("detect", *videos, "--checkpoint", checkpoint, "--out", out)
    assert done.code == 2 and len(done.err) == 3
    assert done.err[0].startswith(f"actiontubes detect: {videos[0]}: ")
    assert done.err[1].startswith(f"actiontubes detect: {videos[2]}: file not found")
    assert done.err[2] == f"actiontubes detect: 2 of 4 videos failed: {videos[0]}, {videos[2]}"
    assert files(out) == sorted([*TABLES, "good.tubes.mp4", "one.tubes.mp4"])
    found = read_table(Videos, out / "videos.parquet")
    assert dict(zip(found.video, found.num_frames.tolist())) == {"good": 20, "one": 1}
    detections = read_table(Detections, out / "detections.parquet")
    assert detections.boxes.min() >= 0 and (detections.boxes.max(axis=0) <= [64, 48] * 2).all()
