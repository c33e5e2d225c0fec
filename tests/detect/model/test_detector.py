"""The detector assembled: every way of putting it together, and what a batch adds up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.layers import ConvNormReLU
from actiontubes.datasets.errors import InputError
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.detect.model.postprocess import KeyFrameDetections
from actiontubes.detect.model.sampling import jitter_boxes
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = DetectorConfig(
    labels=("a", "b", "c"), backbone="s3d-g", width_multiplier=0.05, proposals="features",
    proposal_count=20, hidden=16, roi_size=3, frames=8, size=(64, 80), anchor_sides=(16, 32, 48),
)  # fmt: skip
WAYS = {
    "features": SETTINGS,
    "resnet18": replace(SETTINGS, proposals="resnet18"),
    "external": replace(SETTINGS, proposals="external", backbone="i3d"),
    "light": replace(SETTINGS, head="light", head_channels=4, proposals="external"),
    "mixed": replace(SETTINGS, head="mixed", proposals="external"),
    "mixed per box": replace(SETTINGS, head="mixed", proposals="external", mixed_per_box=True),
    "sigmoids": replace(SETTINGS, multi_label=True, per_class_boxes=True, backbone="fast-s3d"),
    "elsewhere": replace(SETTINGS, endpoint="Mixed_3c", proposal_endpoint="Mixed_4b"),
    "fine boxes": replace(SETTINGS, proposals="external", box_endpoint="Conv2d_2c_3x3",
                          box_roi_size=4),
    "mixed, fine boxes": replace(SETTINGS, head="mixed", proposals="external",
                                 box_endpoint="Mixed_3c"),
}  # fmt: skip
# Two clips of 16 frames with three key frames and with one; 2, 1, 0 and 0 people.
CLIP_OF = torch.tensor([0, 0, 0, 1])
KEYS = torch.tensor([4, 8, 12, 5])
BOXES = [
    torch.tensor([[10.0, 12, 43, 45], [40, 5, 60, 60]]),
    torch.tensor([[20.0, 10, 60, 62]]),
    torch.empty(0, 4),
    torch.empty(0, 4),
]
LABELS = [torch.tensor([[0.0, 1, 0], [1, 0, 0]]), torch.tensor([[0.0, 0, 1]])]
LABELS += [torch.empty(0, 3)] * 2
SEEDS = [3, 4, 5, 6]


def build(settings: DetectorConfig, seed: int = 0) -> Detector:
    """With norms that have seen something."""
    torch.manual_seed(seed)
    detector = build_detector(settings)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.05, 0.2)
    return detector


def clips(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 16, 64, 80, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_losses_of_a_batch_are_the_mean_over_its_key_frames(settings: DetectorConfig) -> None:
    """Each key frame by itself, of its own clip, at its own time, with its own people and seed."""
    detector = build(settings).train()
    whole = detector(clips(), CLIP_OF, KEYS, BOXES, LABELS, SEEDS)
    alone = [
        detector(
            clips()[clip : clip + 1], torch.tensor([0]), KEYS[i : i + 1], BOXES[i : i + 1],
            LABELS[i : i + 1], SEEDS[i : i + 1],
        )
        for i, clip in enumerate(CLIP_OF.tolist())
    ]  # fmt: skip
    names = ["action", "action_boxes"]
    if settings.proposals != "external":
        names = ["objectness", "proposal_boxes", *names]
    assert list(whole) == names
    for name in names:
        mean = torch.stack([losses[name] for losses in alone]).mean()
        torch.testing.assert_close(whole[name], mean, rtol=1e-4, atol=1e-6)
        assert whole[name] > 0
    other = detector(clips(), CLIP_OF, KEYS[[1, 2, 0, 3]], BOXES, LABELS, SEEDS)
    assert other["action"] != whole["action"]


@pytest.mark.parametrize("norm", ["frozen", "batch"])
@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_background_alone_gives_finite_gradients(settings: DetectorConfig, norm: Any) -> None:
    detector = build(replace(settings, norm=norm)).train()
    none, classes = [torch.empty(0, 4)] * 4, [torch.empty(0, 3)] * 4
    losses = detector(clips(), CLIP_OF, KEYS, none, classes, SEEDS)
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for name, value in detector.state_dict().items():
        assert value.isfinite().all(), name
    assert losses["action_boxes"] == 0
    if settings.proposals == "external":
        assert losses["action"] == 0  # without people there is nothing to jitter
    else:
        assert losses["objectness"] > 0 and losses["action"] > 0


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_every_weight_learns(settings: DetectorConfig) -> None:
    """Each that is trained: processes that share a batch wait for the gradient of every one."""
    for norm in ("frozen", "batch"):
        detector = build(replace(settings, norm=norm)).train()
        losses = detector(clips(), CLIP_OF, KEYS, BOXES, LABELS, SEEDS)
        torch.stack(list(losses.values())).sum().backward()
        for name, parameter in detector.named_parameters():
            frozen = norm == "frozen" and ".norm." in name
            assert parameter.requires_grad != frozen, name
            assert (parameter.grad is None) == frozen, name


def test_jittered_boxes_are_added_to_the_proposals_in_training() -> None:
    detector = build(WAYS["external"]).train()
    corner = [torch.tensor([[0.0, 0, 9, 9]])] * 4
    around = [
        torch.cat([far, jitter_boxes(people, seed, copies=5)])
        for far, people, seed in zip(corner, BOXES, SEEDS)
    ]
    batch = clips(), CLIP_OF, KEYS, BOXES, LABELS, SEEDS
    far = detector(*batch, corner)
    expected = detector(*batch, around)
    detector.jitter = 5
    found = detector(*batch, corner)
    assert found == expected
    # Of the corner nothing is to be learnt about where people are.
    assert found["action_boxes"] > 10 * far["action_boxes"]
    detector.eval()
    with torch.no_grad():
        maps = detector.extract_features(clips())
        assert len(detector.score(maps, 16, corner, CLIP_OF, KEYS).proposals) == 4


@pytest.mark.parametrize("way", ["external", "light", "mixed", "mixed per box"])
def test_a_batch_without_people_has_zero_gradients(
    way: str, detect_key_frames: Callable[..., KeyFrameDetections]
) -> None:
    """Zero, not None, for which processes that share the batch would wait for ever."""
    for norm in ("frozen", "batch"):
        detector = build(replace(WAYS[way], norm=norm)).train()
        none, classes = [torch.empty(0, 4)] * 4, [torch.empty(0, 3)] * 4
        losses = detector(clips(), CLIP_OF, KEYS, none, classes, SEEDS)
        torch.stack(list(losses.values())).sum().backward()
        for name, parameter in detector.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and not parameter.grad.any(), name
        detector.eval()
        with torch.inference_mode():
            maps = detector.extract_features(clips())
            found = detect_key_frames(detector, maps, 16, none, CLIP_OF, KEYS)
        assert len(found.key_frame_index) == 0


def norms(detector: Detector) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in detector.named_modules()
        if isinstance(module, nn.BatchNorm3d)
        for key, value in module.state_dict().items()
    }


@pytest.mark.parametrize("head", ["mean", "mixed"])
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_frozen_norms_stay(norm: Any, head: Any) -> None:
    detector = build(replace(SETTINGS, norm=norm, head=head)).train()
    before = norms(detector)
    weights = [p for p in detector.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    for _ in range(2):
        losses = detector(clips(), CLIP_OF, KEYS, BOXES, LABELS, SEEDS)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    after = norms(detector)
    assert any("Mixed_5c" in name for name in after) == (head == "mixed")
    same = {name for name, value in after.items() if torch.equal(value, before[name])}
    if norm == "frozen":
        assert same == set(after)
    else:
        assert not any("running" in name for name in same) and len(same) < len(after) / 4


def test_training_mode_comes_back_after_evaluation() -> None:
    for norm in ("frozen", "batch"):
        detector = build(replace(SETTINGS, norm=norm)).eval().train()
        modes = {m.training for m in detector.modules() if isinstance(m, nn.BatchNorm3d)}
        assert modes == {norm == "batch"}
        assert detector.training and detector.head.training


def test_frozen_layers_stay_when_norms_learn() -> None:
    detector = build(replace(SETTINGS, norm="batch"))
    detector.trunk.freeze("Mixed_3c")
    detector.train()
    losses = detector(clips(), CLIP_OF, KEYS, BOXES, LABELS, SEEDS)
    torch.stack(list(losses.values())).sum().backward()
    for name, layer in detector.trunk.named_children():
        frozen = name in detector.trunk.frozen
        for module in layer.modules():
            if isinstance(module, ConvNormReLU):
                assert (module.conv.weight.grad is None) == frozen == (not module.norm.training)


def test_external_proposals_are_added_to_those_of_the_network() -> None:
    detector = build(replace(SETTINGS, proposal_count=1)).train()
    seen: list[Tensor] = []
    hook = detector.head.register_forward_hook(
        lambda module, inputs, out: seen.append(inputs[1].boxes)
    )
    mine = torch.tensor([[3.0, 4, 50, 51]])
    detector(clips(), CLIP_OF, KEYS, BOXES, LABELS, SEEDS, [mine] * 4)
    hook.remove()
    assert sum((boxes == mine).all(dim=1).sum().item() for boxes in seen) == 4


def test_external_proposals_alone() -> None:
    detector = build(WAYS["external"]).train()
    seen: list[Tensor] = []
    detector.head.register_forward_hook(lambda module, inputs, out: seen.append(inputs[1].boxes))
    mine = torch.tensor([[3.0, 4, 50, 51]])
    detector(clips(), CLIP_OF, KEYS, BOXES, LABELS, SEEDS, [mine] * 4)
    # And the ground truth, so that there is something to find.
    expected = {tuple(box) for boxes in [*BOXES, mine] for box in boxes.tolist()}
    assert {tuple(box) for box in seen[0].tolist()} == expected
    detector(clips(), CLIP_OF, KEYS, BOXES, LABELS, SEEDS)
    assert len(seen[1]) > 3 and not (seen[1] == mine).all(dim=1).any()


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_detections(
    settings: DetectorConfig, detect_key_frames: Callable[..., KeyFrameDetections]
) -> None:
    detector = build(settings).eval()
    with torch.inference_mode():
        maps = detector.extract_features(clips())
        if detector.proposals is None:
            proposals = BOXES
        else:
            proposals, losses = detector.propose(maps, clips(), CLIP_OF, KEYS)
            assert not losses
        found = detect_key_frames(detector, maps, 16, proposals, CLIP_OF, KEYS, threshold=0.1)
    assert (
        len(found.key_frame_index) == len(found.label) == len(found.score) == len(found.boxes) > 0
    )
    assert (found.score > 0.1).all() and (found.score < 1).all()
    assert (found.key_frame_index.diff() >= 0).all() and set(found.label.tolist()) <= {0, 1, 2}
    for key in range(4):
        assert (found.score[found.key_frame_index == key].diff() <= 0).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([80, 64, 80, 64])).all()


def test_the_window_covers_the_context() -> None:
    for frames, steps in ((1, 1), (4, 1), (5, 2), (20, 5), (64, 16)):
        assert build_detector(replace(SETTINGS, frames=frames)).window("Mixed_4e") == steps
    detector = build_detector(replace(SETTINGS, endpoint="Mixed_3c", frames=20))
    assert detector.window("Mixed_3c") == 10 and detector.window("Mixed_5c") == 3


def test_a_pretrained_trunk_is_truncated_and_used() -> None:
    trunk = Trunk(get_variant("s3d-g"), 0.05)
    weights = {key: value.clone() for key, value in trunk.state_dict().items()}
    for way, rest in (
        ("external", ""), ("mixed", "trunk."), ("mixed per box", "head.features.blocks."),
    ):  # fmt: skip
        taken = Trunk(get_variant("s3d-g"), 0.05)
        taken.load_state_dict(weights)
        detector = build_detector(replace(WAYS[way], backbone="s3d-g"), taken)
        assert detector.trunk.last == ("Mixed_5c" if way == "mixed" else "Mixed_4e")
        state = detector.state_dict()
        for key, value in weights.items():
            early = key.split(".")[0] in dict(detector.trunk.named_children())
            if early or rest:
                assert torch.equal(state[("trunk." if early else rest) + key], value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": (70, 80)}, ("70 80", "16", "Mixed_4e")),
        ({"endpoint": "Mixed_5b"}, ("64 80", "32")),
        ({"endpoint": "Mixed_9z"}, ("Mixed_9z", "Mixed_4b")),
        ({"proposal_endpoint": "fc"}, ("fc", "Mixed_4b")),
        ({"head": "mixed", "endpoint": "Mixed_5c", "size": (64, 96)}, ("mixed", "Mixed_5c")),
        (
            {"head": "mixed", "mixed_per_box": True, "endpoint": "Mixed_4b"},
            ("--mixed-per-box", "--proposal-endpoint Mixed_4e"),
        ),
        ({"head": "mixed", "frames": 4}, ("--head mixed", "4 frames", "--frames 8", "Mixed_5c")),
        ({"head_channels": 1}, ("--head-channels", "1")),
        ({"box_endpoint": "conv2"}, ("--box-endpoint conv2", "Conv2d_2c_3x3")),
        ({"box_endpoint": "Mixed_4e"}, ("--box-endpoint Mixed_4e", "not before --endpoint")),
        ({"vote_iou": 1.5}, ("--vote-iou", "1.5")),
        ({"backbone": "resnet"}, ("resnet", "s3d-g")),
        ({"labels": ()}, ("labels",)),
        ({"norm": "group"}, ("norm", "group", "frozen")),
        ({"head": "max"}, ("head", "max", "mixed")),
        ({"proposals": "rpn"}, ("proposals", "rpn", "features")),
        ({"width_multiplier": 0.0}, ("width",)),
        ({"frames": 0}, ("frames", "0")),
        ({"roi_size": -1}, ("--roi-size", "-1")),
        ({"dropout": 1.0}, ("dropout", "1.0")),
        ({"anchor_sides": (16, 0)}, ("--anchor-sides",)),
        ({"anchor_ratios": ()}, ("--anchor-ratios",)),
    ],
)
def test_unfit_configs_are_refused(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as error:
        build_detector(replace(SETTINGS, **changes))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
