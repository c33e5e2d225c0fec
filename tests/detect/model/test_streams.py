"""Detectors on RGB, on optical flow and on both, from training to tubes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import PretrainedModel, normalize
from actiontubes.backbones.family import I3D_LAYOUT, get_variant
from actiontubes.backbones.flow_input import FLOW_MEAN, FLOW_STD
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import save_pretrained
from actiontubes.datasets.clips.detection_set import open_detection_sets
from actiontubes.datasets.clips.options import Augmentation, ClipConfig, ClipSampling
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.figures.dataset import make_figure_dataset
from actiontubes.datasets.flow.cache import cache_path, write_cache
from actiontubes.datasets.flow.estimate import append_flow
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, concatenate_rows
from actiontubes.datasets.video.reader import read_video
from actiontubes.detect.inference.clip_batches import ClipBatch
from actiontubes.detect.inference.predict_dataset import predict_dataset
from actiontubes.detect.inference.predictor import (
    FusedPredictor,
    TorchPredictor,
    predict_frames,
)
from actiontubes.detect.inference.tubes.detector_tubes import TubeOptions, detector_tubes
from actiontubes.detect.inference.video_input import open_video_file
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import (
    extract_trunk,
    is_detector,
    load_detector,
    save_detector,
)
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.detect.model.postprocess import decode_boxes
from actiontubes.detect.model.pretrained import new_detector
from actiontubes.detect.people.person_boxes import FunctionSource
from actiontubes.detect.training.detector import train_and_evaluate
from actiontubes.detect.training.options import RoiTraining, RunOptions, Schedule
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = DetectorConfig(
    labels=("run", "sit"), backbone="s3d-g", width_multiplier=0.05, endpoint="Mixed_3c",
    proposals="features", proposal_endpoint="Mixed_3c", proposal_count=6, hidden=8, roi_size=2,
    frames=4, size=(48, 64), anchor_sides=(16, 32), norm="batch", streams="both",
    flow_method="dis",
)  # fmt: skip
ZERO, KEY = torch.zeros(1, dtype=torch.long), torch.tensor([2])


def detector(seed: int = 0, **changes: Any) -> Detector:
    """Its norms fit random clips, so that its scores and boxes depend on what it sees."""
    torch.manual_seed(seed)
    made = build_detector(replace(SETTINGS, **changes))
    torch.nn.init.normal_(made.head.scores.weight, std=1.0)
    torch.nn.init.normal_(made.head.deltas.weight, std=0.2)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 1.0
    cells = made.config.height // 8
    blocks = torch.randint(1, 256, (1, made.config.frames, cells, 8, 5), dtype=torch.uint8)
    with torch.no_grad():
        made.extract_features(blocks.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3))
    return made.eval()


def clip(channels: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    both = torch.randint(1, 256, (1, 4, 48, 64, 5), generator=generator, dtype=torch.uint8)
    return both if channels == 5 else both[..., :3] if channels == 3 else both[..., 3:]


def boxes() -> list[Tensor]:
    return [torch.tensor([[5.0, 5, 30, 40], [20, 8, 60, 44]])]


def maps(made: Detector, clips: Tensor) -> dict[str, Tensor]:
    with torch.inference_mode():
        return made.extract_features(clips)


def two_clips(channels: int = 5) -> Tensor:
    """One of twice the length, for layers behind the fourth pooling."""
    return torch.cat([clip(channels), clip(channels).flip(1)], dim=1)


def test_feature_maps_of_the_mixed_head_are_averaged() -> None:
    made = detector(head="mixed", frames=8)
    assert made.flow_trunk is not None
    found, names = maps(made, two_clips()), ("Mixed_3c", "Mixed_5c")
    with torch.inference_mode():
        rgb = normalize(two_clips(3), made.config.mean, made.config.std)
        rgb_maps = made.trunk.endpoints(rgb, names)
        flow_maps = made.flow_trunk.endpoints(normalize(two_clips(2), FLOW_MEAN, FLOW_STD), names)
    for name in names:
        torch.testing.assert_close(found[name], (rgb_maps[name] + flow_maps[name]) / 2)


def test_feature_maps_are_averaged() -> None:
    made = detector()
    assert made.flow_trunk is not None
    with torch.inference_mode():
        rgb = made.trunk(normalize(clip(3), made.config.mean, made.config.std))
        flow = made.flow_trunk(normalize(clip(2), FLOW_MEAN, FLOW_STD))
    found = maps(made, clip())
    assert rgb.shape == flow.shape
    torch.testing.assert_close(found["Mixed_3c"], (rgb + flow) / 2)
    # The RPN sees those of RGB.
    torch.testing.assert_close(found["proposals"], rgb)
    assert not torch.allclose(rgb, flow, atol=1e-3)


def test_single_streams_ignore_the_other() -> None:
    rgb, flow = detector(streams="rgb"), detector(streams="flow")
    assert rgb.flow_trunk is None and flow.flow_trunk is None and flow.trunk.channels_in == 2
    for made, channels in ((rgb, 3), (flow, 2)):
        found, expected = maps(made, clip()), maps(made, clip(channels))
        torch.testing.assert_close(found["Mixed_3c"], expected["Mixed_3c"])


def test_streams_of_a_clip() -> None:
    for streams in ("rgb", "flow", "both"):
        assert replace(SETTINGS, streams=streams).clip_streams == streams  # type: ignore[arg-type]
    on_flow = replace(SETTINGS, streams="flow", proposals="resnet18")
    # The RPN looks at the RGB key frame.
    assert on_flow.clip_streams == "both"
    made = build_detector(on_flow).eval()
    with torch.inference_mode():
        proposals, _ = made.propose(made.extract_features(clip()), clip(), ZERO, KEY)
        other = clip()
        other[..., 3:] = 128
        same, _ = made.propose(made.extract_features(other), other, ZERO, KEY)
    assert torch.equal(proposals[0], same[0]) and len(proposals[0])


@pytest.mark.parametrize("head", ["mean", "light", "mixed"])
@pytest.mark.parametrize("streams", ["flow", "both"])
def test_round_trip(streams: str, head: str, tmp_path: Path) -> None:
    made = detector(streams=streams, head=head, frames=8)
    save_detector(made, tmp_path / "d.safetensors")
    loaded = load_detector(tmp_path / "d.safetensors")
    assert loaded.config == made.config and is_detector(tmp_path / "d.safetensors")
    assert not is_detector(tmp_path / "none.safetensors")
    found, expected = maps(loaded, two_clips()), maps(made, two_clips())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_configs_of_older_files() -> None:
    assert DetectorConfig(labels=("a",)).streams == "rgb"
    for name, word in (("streams", "two"), ("flow_method", "farneback")):
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} {word}"):
            replace(SETTINGS, **{name: word})


def test_trunks_with_different_grids_are_refused() -> None:
    variant = get_variant("s3d-g")
    flow = Trunk(replace(variant, layout=I3D_LAYOUT), 0.05, channels_in=2)
    with pytest.raises(
        InputError, match="--streams both: the RGB and the flow weights use different padding"
    ):
        build_detector(SETTINGS, Trunk(variant, 0.05), flow)


def test_each_stream_from_its_own_detector(tmp_path: Path) -> None:
    rgb, flow = detector(1, streams="rgb", mean=(0.4, 0.5, 0.6)), detector(2, streams="flow")
    for name, one in (("rgb", rgb), ("flow", flow)):
        save_detector(one, tmp_path / f"{name}.safetensors")
    files = {name: str(tmp_path / f"{name}.safetensors") for name in ("rgb", "flow")}
    both = new_detector(SETTINGS, weights=files["rgb"], flow_weights=files["flow"]).eval()
    assert both.config.mean == (0.4, 0.5, 0.6)
    parts = [maps(one, clip())["Mixed_3c"] for one in (rgb, flow)]
    torch.testing.assert_close(maps(both, clip())["Mixed_3c"], (parts[0] + parts[1]) / 2)
    # Without weights of its own, the flow's trunk takes the mean over the colours.
    averaged = new_detector(SETTINGS, weights=files["rgb"])
    assert averaged.flow_trunk is not None
    kernel = averaged.flow_trunk.state_dict()["Conv2d_1a_7x7.0.conv.weight"]
    torch.testing.assert_close(
        kernel[:, 0], rgb.trunk.state_dict()["Conv2d_1a_7x7.0.conv.weight"].sum(1) / 2
    )
    alone = new_detector(
        replace(SETTINGS, streams="flow"), weights=None, flow_weights=files["flow"]
    )
    assert torch.equal(maps(alone.eval(), clip(2))["Mixed_3c"], parts[1])
    frozen = new_detector(SETTINGS, weights=files["rgb"], freeze="Conv2d_2c_3x3")
    assert frozen.flow_trunk is not None and frozen.flow_trunk.frozen == frozen.trunk.frozen


def test_detectors_without_the_needed_trunk(tmp_path: Path) -> None:
    path = str(tmp_path / "d.safetensors")
    save_detector(detector(streams="flow"), Path(path))
    for settings, words in (
        (SETTINGS, "on optical flow only"),
        (
            replace(SETTINGS, streams="flow", backbone="s3d"),
            "weights of s3d-g, but the backbone is s3d",
        ),
        (replace(SETTINGS, streams="flow", endpoint="Mixed_4b"), "the layers up to Mixed_3c only"),
        (replace(SETTINGS, streams="flow", head="mixed"), "the layers up to Mixed_3c only"),
        (
            replace(SETTINGS, streams="flow", width_multiplier=0.1),
            "has width 0.05, but --width is 0.1",
        ),
    ):
        with pytest.raises(InputError, match=words):
            new_detector(settings, weights=path)
    with pytest.raises(InputError, match="needs pretrained weights"):
        new_detector(replace(SETTINGS, streams="flow", norm="frozen"))
    whole = PretrainedModel(
        Trunk(get_variant("s3d-g"), 0.05, channels_in=2).eval(), None, (), FLOW_MEAN, FLOW_STD
    )
    save_pretrained(whole, tmp_path / "t.safetensors")
    with pytest.raises(InputError, match=r"on optical flow .2 channels"):
        new_detector(SETTINGS, weights=str(tmp_path / "t.safetensors"))
    assert extract_trunk(detector(), 2).trunk.channels_in == 2
    assert extract_trunk(detector(), 3).trunk.channels_in == 3


# Score fusion.


def test_fused_scores_are_the_mean() -> None:
    """Of both detectors, on the proposals of the first."""
    rgb, flow = (TorchPredictor(detector(seed, streams=streams))
                 for seed, streams in ((1, "rgb"), (2, "flow")))  # fmt: skip
    fused = FusedPredictor(rgb, flow)
    assert fused.config.streams == "both" and fused.proposals == "own"
    batch = ClipBatch(
        clips=clip(), clip_index=ZERO, key_frame_positions=KEY, frame_numbers=np.array([7])
    )
    rows = slice(0, 1)
    with torch.inference_mode():
        features = [one.extract_features(batch) for one in (rgb, flow)]
        proposals = rgb.propose(features[0], batch, rows)
        ours, theirs = (one.score(each, proposals, batch, rows)
                        for one, each in zip((rgb, flow), features))  # fmt: skip
    (prediction,) = fused.predict(batch)
    mean = (ours.probabilities + theirs.probabilities) / 2
    size = (fused.config.height, fused.config.width)
    boxes = decode_boxes((ours.deltas + theirs.deltas) / 2, proposals[0], size)
    assert prediction.frame == 7
    torch.testing.assert_close(prediction.probabilities, mean)
    torch.testing.assert_close(prediction.boxes, boxes)
    assert not torch.allclose(ours.probabilities, theirs.probabilities, atol=1e-2)


def test_a_detector_fused_with_itself_has_the_same_detections() -> None:
    one = TorchPredictor(detector(1, streams="rgb"))
    frames = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8) for i in range(6)]
    alone, fused = (
        concatenate_rows(list(predict_frames(predictor, frames)))
        for predictor in (one, FusedPredictor(one, one))
    )
    np.testing.assert_array_equal(alone.label, fused.label)
    np.testing.assert_allclose(alone.score, fused.score, atol=1e-6)
    np.testing.assert_allclose(alone.boxes, fused.boxes, atol=1e-6)


@pytest.mark.parametrize("changes", [{"labels": ("sit", "run")}, {"size": (96, 64)}, {"frames": 8}])
def test_detectors_that_cannot_be_fused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"differ in {next(iter(changes))}"):
        FusedPredictor(TorchPredictor(detector()), TorchPredictor(detector(**changes)))


# From files.


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    make_figure_dataset(folder, train=1, test=1, frames=60, height=96, width=96, progress=False)
    return folder


@pytest.mark.parametrize(("streams", "proposals"), [("flow", "external"), ("both", "features")])
def test_cached_and_computed_flow_give_the_same_detections(
    figures: Path, tmp_path: Path, streams: str, proposals: str
) -> None:
    source = next((figures / "videos").glob("test*"))
    video = tmp_path / source.name
    video.write_bytes(source.read_bytes())
    made = detector(streams=streams, proposals=proposals)

    def people(frames: np.ndarray, first: int) -> list[np.ndarray]:
        assert frames.shape[3] == 3
        return [np.array([[10, 10, 60, 80, 0.9]], np.float32) for _ in frames]

    def tables(folder: Path) -> Detections:
        folder.mkdir()
        given = FunctionSource(people) if proposals == "external" else None
        opened, options = open_video_file(video, "v"), TubeOptions(key_frame_step=7)
        with detector_tubes(opened, TorchPredictor(made), given, options, progress=False) as run:
            run(folder)
        return read_table(Detections, folder / "detections.parquet")

    computed = tables(tmp_path / "computed")
    write_cache(video, cache_path(video, "dis"), "dis")
    cached = tables(tmp_path / "cached")
    assert len(computed) and np.ptp(computed.score) > 0.05
    assert np.array_equal(computed.score, cached.score)
    assert np.array_equal(computed.boxes, cached.boxes)
    # And as a library: flow given with the frames, or left to it.
    frames = list(read_video(video))
    given = FunctionSource(people) if proposals == "external" else None
    for pictures in (frames, list(append_flow(frames, "dis"))):
        found = concatenate_rows(
            list(predict_frames(TorchPredictor(made), pictures, source=given, key_frame_step=7))
        )
        looked = computed.frame % 7 == 0
        assert np.array_equal(np.sort(found.score), np.sort(computed.score[looked]))


def test_training_on_both_streams(figures: Path, tmp_path: Path) -> None:
    train_set, test_set = open_detection_sets(figures)
    settings = replace(SETTINGS, labels=train_set.labels)
    seen = []
    trained, _ = train_and_evaluate(
        new_detector(settings), train_set, test_set, tmp_path / "out",
        clips=ClipConfig(), sampling=ClipSampling(), augmentation=Augmentation(),
        rois=RoiTraining(), schedule=Schedule(steps=2, batch=1, warmup=0, ema=0),
        run=RunOptions(device="cpu", precision="no"),
        on_step=lambda step, losses: seen.append(losses),
    )  # fmt: skip
    assert len(seen) == 2 and all(math.isfinite(v) for losses in seen for v in losses.values())
    fresh = new_detector(settings)
    for name in ("trunk", "flow_trunk"):
        before, after = (
            one.get_submodule(name).state_dict()["Conv2d_1a_7x7.0.conv.weight"]
            for one in (fresh, trained)
        )
        assert not torch.equal(before, after)
    loaded = load_detector(tmp_path / "out" / "detector.safetensors")
    assert loaded.config.streams == "both"
    written = read_table(Detections, tmp_path / "out" / "detections.parquet")
    again = predict_dataset(TorchPredictor(loaded), test_set, progress=False)
    np.testing.assert_allclose(np.sort(again.score), np.sort(written.score), atol=1e-6)
