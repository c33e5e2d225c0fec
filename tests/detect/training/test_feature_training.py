"""Training on features that are computed once: the same steps as on features computed each time."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.datasets.clips.annotated_frames import AnnotatedFrames
from actiontubes.datasets.clips.detection_set import DetectionSet, open_detection_sets
from actiontubes.datasets.clips.options import Augmentation, ClipConfig, ClipSampling
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.figures.dataset import make_figure_dataset
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections
from actiontubes.datasets.video.media import read_frames
from actiontubes.detect.inference.clip_batches import prefetch_clip_batches
from actiontubes.detect.inference.clip_geometry import ClipGeometry
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.detect.training.detector import train_and_evaluate
from actiontubes.detect.training.feature_cache import FeatureCache, feature_settings
from actiontubes.detect.training.feature_clips import (
    FeatureClips,
    batch_features,
    collate_features,
)
from actiontubes.detect.training.options import FeatureOptions, RoiTraining, RunOptions, Schedule
from actiontubes.detect.training.video_clips import VideoClips

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:no ground truth for"),
]

CONFIG = DetectorConfig(
    labels=("a",), backbone="i3d", width_multiplier=0.05, endpoint="Mixed_4b",
    proposals="features", proposal_endpoint="Mixed_3c", proposal_count=10, hidden=8, roi_size=2,
    frames=6, size=(48, 64), dropout=0.5,
)  # fmt: skip
CLIPS = ClipConfig(key_frames=3, key_frame_step=5)
SCHEDULE = Schedule(steps=6, batch=2, warmup=0, lr=0.01, ema=0.5, save_every=2, evaluate_every=3)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[DetectionSet, DetectionSet]:
    """Two videos to train on and one to test on; 90 frames are two clips."""
    folder = tmp_path_factory.mktemp("figures")
    make_figure_dataset(folder, train=2, test=1, frames=90, height=96, width=128, progress=False)
    return open_detection_sets(folder)


def frozen(labels: tuple[str, ...], **changes: Any) -> Detector:
    torch.manual_seed(0)
    detector = build_detector(replace(CONFIG, labels=labels, **changes))
    detector.trunk.freeze(detector.trunk.last)
    return detector


@pytest.fixture(scope="module")
def train(sets: tuple[DetectionSet, DetectionSet]) -> Callable[..., Path]:
    def run(
        out: Path,
        cache: object,
        *,
        limit: float = 1,
        schedule: Schedule = SCHEDULE,
        detector: Detector | None = None,
        resume: bool = False,
        on_step: Any = None,
    ) -> Path:
        train_set, _ = sets
        # Tested on the same videos: the first view of training is what detection needs.
        train_and_evaluate(
            detector or frozen(train_set.labels), train_set, train_set, out, clips=CLIPS,
            sampling=ClipSampling(), augmentation=Augmentation(), rois=RoiTraining(),
            schedule=schedule, run=RunOptions(device="cpu", precision="no", resume=resume),
            features=FeatureOptions(
                cache_features=str(cache), feature_views=2, cache_features_limit=limit
            ),
            on_step=on_step,
        )  # fmt: skip
        return out

    return run


@pytest.fixture(scope="module")
def kept(train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, out, and the features that it kept, cache."""
    folder = tmp_path_factory.mktemp("kept")
    train(folder / "out", folder / "cache")
    return folder


def table(path: Path) -> list[dict[str, float]]:
    """Without the columns of times and words."""
    with path.open(newline="") as file:
        return [
            {name: float(text) for name, text in row.items()
             if name not in ("seconds", "waited", "protocol")}
            for row in csv.DictReader(file)
        ]  # fmt: skip


def same(one: Path, other: Path) -> bool:
    """The losses and the detections to 1e-5, the evaluations as they are written."""
    assert table(one / "evaluations.csv") == table(other / "evaluations.csv")
    mine, theirs = (read_table(Detections, out / "detections.parquet") for out in (one, other))
    assert len(mine) and np.allclose(mine.boxes, theirs.boxes, atol=1e-3)
    assert np.allclose(mine.score, theirs.score, rtol=1e-5)
    first, second = (
        np.array([[*row.values()] for row in table(out / "losses.csv")]) for out in (one, other)
    )
    return np.allclose(first, second, rtol=1e-5, atol=1e-7)


def test_losses_are_those_of_features_computed_each_time(
    train: Callable[..., Path], kept: Path, tmp_path: Path, monkeypatch
) -> None:
    with pytest.warns(UserWarning, match="has reached 0 GB with 0 clips"):
        computed = train(tmp_path / "computed", tmp_path / "none", limit=0)
    assert not (tmp_path / "none").exists() and same(computed, kept / "out")
    files = sorted((kept / "cache").iterdir())
    assert 4 < len(files) <= 4 * 2

    def never(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(Detector, "extract_features", never)
    again = train(tmp_path / "again", kept / "cache")
    assert same(again, kept / "out") and sorted((kept / "cache").iterdir()) == files


def test_damaged_files_are_computed_again(
    train: Callable[..., Path], kept: Path, tmp_path: Path
) -> None:
    shutil.copytree(kept / "cache", tmp_path / "cache")
    files = sorted((tmp_path / "cache").iterdir())
    content = {path: path.read_bytes() for path in files}
    for number, path in enumerate(files):
        damaged = bytearray(content[path])
        if number % 3 == 0:
            damaged[-10 - number] ^= 64  # in a feature
        elif number % 3 == 1:
            damaged = damaged[: len(damaged) // 2]
        else:
            damaged = damaged.replace(b'\\"checksum\\": ', b'\\"checksum\\": 1')
        path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"\.safetensors: is damaged; its features are computed"):
        again = train(tmp_path / "again", tmp_path / "cache")
    assert same(again, kept / "out")
    assert {path: path.read_bytes() for path in files} == content


class Interrupted(Exception):
    pass


def test_a_run_that_was_killed_goes_on(
    train: Callable[..., Path], kept: Path, tmp_path: Path
) -> None:

    def on_step(step: int, _: Mapping[str, float]) -> None:
        if step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(tmp_path / "out", tmp_path / "cache", on_step=on_step)
    assert same(kept / "out", train(tmp_path / "out", kept / "cache", resume=True))
    with pytest.raises(InputError, match="--cache-features was 2 views, precision no and is off"):
        train(tmp_path / "out", "off", resume=True)


def test_an_older_run_is_not_continued_on_other_clips(
    train: Callable[..., Path], tmp_path: Path
) -> None:
    out = train(tmp_path, "off")
    state = torch.load(out / "state.pt")
    del state["options"]["cache_features"]
    torch.save(state, out / "state.pt")
    train(out, "off", resume=True)
    with pytest.raises(InputError, match="--cache-features was off and is 2 views, precision"):
        train(out, tmp_path / "cache", resume=True)


def test_a_trunk_that_is_trained_has_no_features_to_keep(
    sets: tuple[DetectionSet, DetectionSet], train: Callable[..., Path], tmp_path: Path, capsys
) -> None:
    labels = sets[0].labels
    for detector, message in (
        (build_detector(replace(CONFIG, labels=labels)), "freeze it with --freeze Mixed_4b"),
        (frozen(labels, proposals="resnet18"), "give --proposals features"),
    ):
        with pytest.raises(InputError, match=f"--cache-features .*{message}"):
            train(tmp_path / "out", tmp_path / "cache", detector=detector)
    train(tmp_path / "trained", "auto", detector=build_detector(replace(CONFIG, labels=labels)))
    assert "computed once" not in capsys.readouterr().err


def test_auto_keeps_features_beside_the_videos_of_a_long_run(
    sets: tuple[DetectionSet, DetectionSet], train: Callable[..., Path], tmp_path: Path, capsys
) -> None:
    folder = sets[0].media[0].parent / "actiontubes-features"
    train(tmp_path / "short", "auto")  # 12 samples of 4 clips in 2 views
    assert not folder.exists() and "computed once" not in capsys.readouterr().err
    train(tmp_path / "long", "auto", schedule=replace(SCHEDULE, steps=8))
    assert (
        f"of 4 clips in 2 views are computed once and kept in {folder}" in capsys.readouterr().err
    )
    assert len(list(folder.iterdir())) > 4


def test_off_is_a_word_also_in_yaml() -> None:
    assert FeatureOptions(cache_features=False) == FeatureOptions(cache_features="off")
    with pytest.raises(InputError, match="--cache-features true: give auto, off or a folder"):
        FeatureOptions(cache_features=True)


@pytest.fixture
def clips(sets: tuple[DetectionSet, DetectionSet]) -> Callable[..., VideoClips]:
    def make(videos: DetectionSet | None = None, **changes: Any) -> VideoClips:
        detector = frozen(sets[0].labels, **changes)
        config = detector.config
        shape = replace(
            CLIPS, frames=config.frames, size=config.size, frame_step=config.frame_step,
            streams=config.clip_streams, flow_method="dis",
        )  # fmt: skip
        settings = feature_settings(detector, "no", "cpu")
        return VideoClips(videos or sets[0], ClipGeometry(config), shape, settings, Augmentation())

    return make


@pytest.mark.parametrize("changes", [{}, {"frame_step": 2}, {"streams": "flow"}])
def test_the_first_view_is_what_detection_sees(
    sets: tuple[DetectionSet, DetectionSet], clips: Callable[..., VideoClips], changes: dict
) -> None:
    made = clips(**changes, flow_method="dis")
    config = replace(CONFIG, **changes, flow_method="dis")
    frames = read_frames(sets[0].media[1])
    with prefetch_clip_batches(config, frames, threads=False) as batches:
        count = 0
        for batch in batches:
            count += 1
            clip = made.locate(1, int(batch.frame_numbers[-1]))
            assert torch.equal(made.read(clip)[0], batch.clips[0])
            assert made.length(clip) == batch.clips.shape[1]
            places = made.positions(clip, batch.frame_numbers)
            assert places.tolist() == batch.key_frame_positions.tolist()
    assert 2 * count == len(made) == 4


def test_samples_with_features_have_the_boxes_of_those_with_frames(
    sets: tuple[DetectionSet, DetectionSet], clips: Callable[..., VideoClips], tmp_path: Path
) -> None:
    train_set, cache, made = sets[0], FeatureCache(tmp_path, 1e9), clips()
    frames = AnnotatedFrames(train_set, ClipSampling())
    samples = FeatureClips(made, frames, CLIPS, 3, cache, seed=1)
    with_frames = [samples[position] for position in range(30)]
    assert len({sample.key for sample in with_frames}) > 8
    for sample in with_frames:
        assert sample.clip is not None and sample.features is None
        cache.save(sample.key, {"map": torch.zeros(1)}, sample.record)
    for one, position in zip(with_frames, range(30)):
        other = samples[position]
        assert other.clip is None and other.features is not None
        a, b = one.annotations, other.annotations
        assert (a.name, a.seed, a.key_frames.tolist()) == (b.name, b.seed, b.key_frames.tolist())
        assert np.ptp(np.diff(a.key_frames)) == 0 and len(a.key_frames) == 3
        for mine, theirs in zip([*a.boxes, *a.labels], [*b.boxes, *b.labels], strict=True):
            assert torch.equal(mine, theirs)


def test_features_in_detections_precision_for_training_in_float32(
    sets: tuple[DetectionSet, DetectionSet], clips: Callable[..., VideoClips], tmp_path: Path
) -> None:
    cache, detector = FeatureCache(tmp_path, 1e9), frozen(sets[0].labels)
    samples = FeatureClips(clips(), AnnotatedFrames(sets[0], ClipSampling()), CLIPS, 1, cache, 0)
    chosen = [next(samples[i] for i in range(99) if samples[i].name.endswith(end))
              for end in (":0", ":64")]  # fmt: skip
    computed = batch_features(detector, collate_features(chosen), cache, torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for index, sample in enumerate(chosen):
            assert sample.clip is not None
            for name, expected in detector.extract_features(sample.clip[None]).items():
                steps = expected.shape[2]
                assert expected.dtype == torch.bfloat16 and computed[name].dtype == torch.float32
                assert torch.equal(computed[name][index, :, :steps], expected[0].float())
                assert not computed[name][index, :, steps:].any(), "the shorter clip"
    assert steps < computed[name].shape[2]
    again = collate_features([samples[i] for i in range(99) if samples[i].features][:2])
    assert batch_features(Detector.__new__(Detector), again, cache)[name].dtype == torch.float32


def test_another_video_weight_or_setting_is_another_key(
    sets: tuple[DetectionSet, DetectionSet], clips: Callable[..., VideoClips], tmp_path: Path
) -> None:
    train_set, _ = sets
    made = clips()
    clip = made.locate(0, 70, view=1)
    copied = tmp_path / "elsewhere.mp4"
    copied.write_bytes(train_set.media[0].read_bytes())
    moved = replace(train_set, media=(copied, train_set.media[1]))
    assert clips(moved).key(clip) == made.key(clip), "the content counts, not the name"
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(train_set.media[0].read_bytes() + b"0")
    keys = [made.key(clip), made.key(replace(clip, view=0)), made.key(replace(clip, view=2))]
    keys += [made.key(made.locate(0, 0, 1)), made.key(made.locate(1, 70, 1))]
    keys.append(clips(replace(train_set, media=(changed, train_set.media[1]))).key(clip))
    for changes in ({"frames": 20}, {"size": (64, 64)}, {"frame_step": 2}, {"streams": "flow"},
                    {"mean": (0.4, 0.5, 0.5)}, {"proposal_endpoint": "Mixed_4b"}):  # fmt: skip
        keys.append(clips(**changes).key(clip))
    detector = frozen(train_set.labels)
    for precision, device in (("bf16", "cpu"), ("no", "cuda")):
        other = feature_settings(detector, precision, device)
        keys.append(made.of_set(train_set, other).key(clip))
    with torch.no_grad():
        next(detector.trunk.parameters()).view(-1)[0] += 1e-6
    keys.append(made.of_set(train_set, feature_settings(detector, "no", "cpu")).key(clip))
    assert len(set(keys)) == len(keys)
