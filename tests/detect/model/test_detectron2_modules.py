"""The trunks and the action head in detectron2's registries, against the real detectron2."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import save_pretrained
from actiontubes.datasets.errors import InputError
from actiontubes.detect.model.roi_features import MeanPoolFeatures
from torch import Tensor, nn
from torchvision.ops import box_iou

MODULE = "actiontubes.detect.model.detectron2_modules"
HEIGHT, WIDTH, FRAMES = 60, 90, 20
PERSON = [20, 10, 60, 55]
# Two noisy clips: a person of stripes in the first, nobody in the second.
CLIPS = torch.from_numpy(
    np.random.default_rng(0).integers(100, 150, (2, FRAMES, 3, HEIGHT, WIDTH), np.uint8)
)
CLIPS[0, :, :, 10:55:4, 20:60] = 255


def test_without_detectron2_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(InputError, match=r"detectron2 cannot be imported .*conda-forge"):
        importlib.import_module(MODULE)


@pytest.fixture(scope="module")
def parts(detectron2: None) -> Any:
    return importlib.import_module(MODULE)


@pytest.fixture
def config(parts: Any, tmp_path: Path) -> Callable[..., Any]:
    """The config in the module's docstring, narrow and untrained, with further keys and values."""
    from detectron2.config import get_cfg

    example = parts.__doc__.partition("`add_actiontubes_config(cfg)`:\n")[2]
    path = tmp_path / "example.yaml"
    path.write_text(dedent(example.partition("\n\nThe system")[0]))

    def make(*values: Any) -> Any:
        cfg = get_cfg()
        parts.add_actiontubes_config(cfg)
        cfg.merge_from_file(str(path))
        small = ["MODEL.S3D.WEIGHTS", "", "MODEL.S3D.WIDTH", 0.125, "MODEL.DEVICE", "cpu"]
        cfg.merge_from_list([*small, "MODEL.ROI_ACTION_HEAD.HIDDEN", 64, *values])
        return cfg

    return make


@pytest.fixture
def build() -> Callable[[Any], Any]:
    def build(cfg: Any) -> Any:
        from detectron2.modeling import build_model

        torch.manual_seed(0)
        return build_model(cfg)

    return build


def truth(boxes: list[list[float]], classes: list[int]) -> Any:
    from detectron2.structures import Boxes, Instances

    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor(classes, dtype=torch.int64)
    return Instances((HEIGHT, WIDTH), gt_boxes=Boxes(tensor), gt_classes=labels)


def proposed(boxes: list[list[float]]) -> Any:
    from detectron2.structures import Boxes, Instances

    tensor = torch.tensor(boxes, dtype=torch.float32)
    logits = torch.zeros(len(tensor))
    return Instances((HEIGHT, WIDTH), proposal_boxes=Boxes(tensor), objectness_logits=logits)


def batch(**fields: Any) -> list[dict[str, Any]]:
    """Two clips, one of a person in action 3, one without people."""
    found = [truth([PERSON], [3]), truth([], [])]
    return [
        {"image": clip, "instances": each, "height": 2 * HEIGHT, "width": 2 * WIDTH, **fields}
        for clip, each in zip(CLIPS, found, strict=True)
    ]


def train(model: Any, inputs: list[dict[str, Any]], steps: int, lr: float = 0.003) -> list[float]:
    """The sums of the losses of a few steps."""
    from detectron2.utils.events import EventStorage

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr)
    model.train()
    sums = []
    with EventStorage():
        for _ in range(steps):
            losses = model(inputs)
            assert all(torch.isfinite(loss) for loss in losses.values()), losses
            total = sum(losses.values())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            sums.append(float(total.detach()))
    return sums


def detect(model: Any, inputs: list[dict[str, Any]]) -> list[Any]:
    with torch.inference_mode():
        return [result["instances"] for result in model.eval()(inputs)]


@pytest.mark.slow
def test_the_example_learns_its_training_clip(config: Any, build: Any) -> None:
    from detectron2.utils.events import EventStorage

    cfg = config("MODEL.S3D.FRAMES", 8, "MODEL.ANCHOR_GENERATOR.SIZES", [[32, 64]])
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 16
    model = build(cfg)
    inputs = [{**each, "image": each["image"][:8]} for each in batch()]
    with EventStorage():
        losses = model.train()(inputs)
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    parts = (
        "backbone.trunk.Conv2d_1a_7x7.0.conv",
        "proposal_generator.rpn_head.conv",
        "roi_heads.box_pooler.features.layers.2",
        "roi_heads.box_predictor.cls_score",
    )
    for part in parts:
        assert model.get_parameter(f"{part}.weight").grad.abs().max() > 0, part
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    sums = train(model, inputs, 30)
    assert np.mean(sums[-5:]) < 0.5 * np.mean(sums[:2])
    # The norms' running means follow so few steps too slowly.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = None
            module.reset_running_stats()
    train(model, inputs, 3, lr=0.0)
    person, nobody = detect(model, inputs)
    assert person.image_size == (2 * HEIGHT, 2 * WIDTH)
    assert person.pred_classes[0] == 3
    assert len(nobody) == 0 or nobody.scores.max() < person.scores[0]
    # Of boxes given, the one on the actor is the best.
    model.proposal_generator = None
    given = {"proposals": proposed([[0, 0, 25, 25], [22, 8, 62, 52], [65, 5, 90, 55]])}
    person, nobody = detect(model, [each | given for each in inputs])
    actor = torch.tensor([[2.0 * edge for edge in PERSON]])
    assert person.pred_classes[0] == 3
    assert box_iou(person.pred_boxes.tensor[:1], actor) > 0.6


@pytest.mark.parametrize(("name", "shift"), [("s3d-g", 7.5), ("i3d", -7.5)])
def test_boxes_are_pooled_as_by_detectron2_at_each_step(
    parts: Any, name: str, shift: float
) -> None:
    """Cell 0 is centred on pixel 0 in S3D, on 15 in I3D; detectron2 takes it to be on 7.5."""
    from detectron2.modeling.poolers import ROIPooler
    from detectron2.structures import Boxes

    trunk = Trunk(get_variant(name), 0.125)
    trunk.truncate("Mixed_4e")
    maps = torch.randn(2, trunk.out_channels, 5, 4, 6)
    boxes = [torch.tensor([[3.0, 4, 50, 60], [20, 1, 40, 33]]), torch.tensor([[0.0, 0, 96, 64]])]
    features = MeanPoolFeatures(trunk.out_channels, 8)
    features.layers = nn.Identity()
    ours = parts.ActionFeatures(features, parts.clip_grid(trunk, FRAMES), FRAMES)
    pooler = ROIPooler(7, scales=(1 / 16,), sampling_ratio=0, pooler_type="ROIAlignV2")
    moved = [Boxes(each + shift) for each in boxes]
    steps = torch.stack([pooler([maps[:, :, step]], moved) for step in range(5)])
    pooled = ours([maps], [Boxes(each) for each in boxes])
    torch.testing.assert_close(pooled, steps.mean(0), atol=1e-5, rtol=1e-5)
    assert ours([maps], [Boxes(torch.zeros(0, 4))] * 2).shape == (0, trunk.out_channels, 7, 7)


def saved_weights(path: Path, name: str = "s3d-g") -> PretrainedModel:
    """A narrow trunk in a file, its norms off their start."""
    torch.manual_seed(1)
    trunk = Trunk(get_variant(name), 0.125)
    trunk(torch.randn(2, 3, 16, 64, 64))
    model = PretrainedModel(trunk.eval(), None, (), (0.4, 0.3, 0.5), (0.2, 0.25, 0.3))
    save_pretrained(model, path)
    return model


@pytest.mark.parametrize("name", ["s3d-g", "i3d"])
def test_a_clip_reaches_the_trunk_as_it_was_trained(
    config: Any, build: Any, tmp_path: Path, name: str
) -> None:
    pretrained = saved_weights(tmp_path / "w.safetensors", name)
    mean, std = ([255 * value for value in values] for values in (pretrained.mean, pretrained.std))
    colours = ["MODEL.PIXEL_MEAN", mean, "MODEL.PIXEL_STD", std]
    cfg = config("MODEL.S3D.NAME", name, "MODEL.S3D.WEIGHTS", str(tmp_path / "w.safetensors"))
    cfg.merge_from_list(colours)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*PIXEL_MEAN")
        model = build(cfg).eval()
    clips = CLIPS[..., :48, :80]
    frames = clips.permute(0, 1, 3, 4, 2)
    with torch.inference_mode():
        images = model.preprocess_image([{"image": clip} for clip in clips])
        maps = model.backbone(images.tensor)
        pretrained.trunk.truncate("Mixed_4e")
        expected = pretrained.trunk(pretrained.normalize(frames))
    torch.testing.assert_close(maps["clip"], expected, atol=1e-4, rtol=1e-4)
    # Frame 10 lies between S3D's steps at frames 8 and 12, and I3D's at 7 and 11.
    share = {"s3d-g": 0.5, "i3d": 0.75}[name]
    key = expected[:, :, 2].lerp(expected[:, :, 3], share)
    if name == "i3d":
        key = expected[:, :, 1].lerp(expected[:, :, 2], share)
    torch.testing.assert_close(maps["key"], key, atol=1e-4, rtol=1e-4)
    with pytest.warns(UserWarning, match=r"MODEL.PIXEL_MEAN \[102.0, 76.5, 127.5\].* RGB"):
        cfg.merge_from_list(["INPUT.FORMAT", "BGR"])
        build(cfg)


def test_remaining_blocks_frozen_layers_and_external_proposals(
    config: Any, build: Any, tmp_path: Path
) -> None:
    from detectron2.checkpoint import DetectionCheckpointer

    pretrained = saved_weights(tmp_path / "w.safetensors")
    cfg = config(
        "MODEL.S3D.WEIGHTS", str(tmp_path / "w.safetensors"), "MODEL.S3D.FREEZE_TO", "Mixed_4b",
        "MODEL.ROI_ACTION_HEAD.FEATURES", "mixed", "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True,
        "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals",
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="PIXEL_MEAN"):
        model = build(cfg)
    state = model.state_dict()
    for name, value in pretrained.trunk.state_dict().items():
        behind = name.startswith(("Mixed_4f", "MaxPool_5a", "Mixed_5"))
        place = "roi_heads.box_pooler.features.blocks" if behind else "backbone.trunk"
        assert torch.equal(state.pop(f"{place}.{name}"), value), name
    assert not [name for name in state if "Mixed" in name]

    inputs = batch(proposals=proposed([[5, 5, 55, 50], [40, 0, 90, 60]]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, inputs, 2)
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert not [name for name in changed if ".Mixed_3" in name or ".Conv2d" in name]
    assert "backbone.trunk.Mixed_4e.branch1.1.conv.weight" in changed
    assert "roi_heads.box_pooler.features.blocks.Mixed_5c.branch0.0.conv.weight" in changed

    found = detect(model, inputs)
    assert [len(each) > 0 for each in found] == [True, True]
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    with pytest.warns(UserWarning, match="PIXEL_MEAN"):
        again = build(cfg)
    DetectionCheckpointer(again).load(str(tmp_path / "model.pth"))
    for one, other, clip in zip(found, detect(again, inputs), inputs, strict=True):
        torch.testing.assert_close(one.scores, other.scores)
        (alone,) = detect(again, [clip])
        torch.testing.assert_close(alone.scores, one.scores, atol=1e-5, rtol=1e-4)


def test_proposals_from_a_resnet_on_the_key_frame(config: Any, build: Any) -> None:
    """The paper's and AVA's system; its proposals depend on the key frame alone."""
    cfg = config(
        "MODEL.S3D.KEY_FRAME_BACKBONE", "build_resnet_backbone", "MODEL.RPN.IN_FEATURES", ["res4"],
        "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64,
        "MODEL.ROI_ACTION_HEAD.FEATURES", "light",
    )  # fmt: skip
    model = build(cfg)
    train(model, batch(), 1)
    model.eval()
    other = CLIPS.clone()
    other[:, [frame for frame in range(FRAMES) if frame != FRAMES // 2]] = 0

    def propose(clips: Tensor) -> Tensor:
        images = model.preprocess_image([{"image": clip} for clip in clips])
        with torch.inference_mode():
            features = model.backbone(images.tensor)
            proposals, _ = model.proposal_generator(images, features, None)
        assert set(features) == {"res4", "clip"}
        return proposals[0].proposal_boxes.tensor

    assert torch.equal(propose(CLIPS), propose(other))


def test_a_lazy_config_can_name_the_parts(parts: Any) -> None:
    from detectron2.config import LazyCall, instantiate
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import GeneralizedRCNN
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.matcher import Matcher
    from detectron2.modeling.roi_heads import FastRCNNOutputLayers

    frames, classes, hidden = 8, 24, 16
    trunk = LazyCall(Trunk)(
        variant=LazyCall(get_variant)(name="s3d-g"), width_multiplier=0.125, last="Mixed_4e"
    )
    config = LazyCall(GeneralizedRCNN)(
        backbone=LazyCall(parts.ClipBackbone)(trunk=trunk, frames=frames),
        proposal_generator=None,
        roi_heads=LazyCall(parts.ActionROIHeads)(
            num_classes=classes,
            batch_size_per_image=8,
            positive_fraction=0.25,
            proposal_matcher=LazyCall(Matcher)(thresholds=[0.5], labels=[0, 1]),
            box_in_features=["clip"],
            box_pooler=LazyCall(parts.ActionFeatures)(
                features=LazyCall(MeanPoolFeatures)(channels=66, hidden=hidden),
                grid=LazyCall(parts.clip_grid)(trunk=trunk, frames=frames),
                frames=frames,
            ),
            box_head=LazyCall(nn.Identity)(),
            box_predictor=LazyCall(FastRCNNOutputLayers)(
                input_shape=LazyCall(ShapeSpec)(channels=hidden),
                box2box_transform=LazyCall(Box2BoxTransform)(weights=(10, 10, 5, 5)),
                num_classes=classes,
            ),
        ),
        pixel_mean=[110.2, 100.64, 95.99],
        pixel_std=[58.15, 56.47, 55.33],
    )
    inputs = batch(proposals=proposed([[5, 5, 55, 50]]))
    train(instantiate(config), [{**each, "image": each["image"][:8]} for each in inputs], 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["MODEL.S3D.NAME", "s4d"], "--backbone s4d: unknown network"),
        (
            ["MODEL.S3D.ENDPOINT", "res4"],
            "MODEL.S3D.ENDPOINT res4: no such layer; choose from .*Mixed_4b",
        ),
        (["MODEL.S3D.FREEZE_TO", "Mixed_5c"], "MODEL.S3D.FREEZE_TO Mixed_5c: no such layer"),
        (["MODEL.S3D.WEIGHTS", "absent.pth"], "absent.pth: no such file"),
        (
            ["MODEL.ROI_HEADS.IN_FEATURES", ["key"]],
            r'MODEL.ROI_HEADS.IN_FEATURES: .* needs \["clip"\]',
        ),
        (["MODEL.ROI_ACTION_HEAD.FEATURES", "max"], "FEATURES max: must be mean, light or mixed"),
        (
            ["MODEL.ROI_ACTION_HEAD.FEATURES", "mixed", "MODEL.S3D.ENDPOINT", "Mixed_5c"],
            "FEATURES mixed: no layers are left after .* Mixed_5c",
        ),
    ],
)
def test_a_config_that_cannot_be_built_is_named(
    config: Any, build: Any, values: list[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build(config(*values))


def test_pictures_clips_of_another_length_and_weights_of_another_width_are_refused(
    config: Any, build: Any, tmp_path: Path
) -> None:
    model = build(config()).eval()
    with pytest.raises(
        InputError,
        match=r"has shape \(8, 3, 64, 96\).*\(20, 3, H, W\), where 20 is MODEL.S3D.FRAMES",
    ):
        detect(model, [{"image": CLIPS[0, :8]}])
    with pytest.raises(InputError, match=r"has shape \(3, 64, 96\)"):
        detect(model, [{"image": CLIPS[0, 0]}])
    saved_weights(tmp_path / "w.safetensors")
    weights = ["MODEL.S3D.WEIGHTS", str(tmp_path / "w.safetensors"), "MODEL.S3D.WIDTH", 0.5]
    with pytest.raises(InputError, match=r"WIDTH 0.5: .*w.safetensors have width 0.125"):
        build(config(*weights))
