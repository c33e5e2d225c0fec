"""The proposal network against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.grid import FeatureGrid
from actiontubes.backbones.inception import Trunk
from actiontubes.detect.model.rpn import (
    KeyFrameResNet,
    ProposalNetwork,
    features_at_key_frames,
    steps_at_key_frames,
)
from actiontubes.detect.model.sampling import SeededSampler, jitter_boxes, sample_balanced
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (64, 80)
SIDES, RATIOS = (16, 32, 48), (0.5, 1.0, 2.0)
with torch.device("meta"):
    GRIDS = {name: Trunk(get_variant(name)).grid("Mixed_4e", (8, *SIZE)) for name in ("i3d", "s3d")}


def network(channels: int = 6, **settings: int) -> ProposalNetwork:
    """With weights large enough to matter."""
    torch.manual_seed(4)
    made = ProposalNetwork(channels, anchor_sides=SIDES, anchor_ratios=RATIOS, **settings)
    for layer in (made.rpn.head.cls_logits, made.rpn.head.bbox_pred):
        nn.init.normal_(layer.weight, std=0.5)
        nn.init.normal_(layer.bias, std=0.5)
    return made


def iou(a: list[float], b: list[float]) -> float:
    common = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return common / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - common)


def slow_anchors(grid: FeatureGrid, rows: int, columns: int) -> list[list[float]]:
    """Of every cell, row by row, every ratio and side; whole pixels around the cell's centre."""
    anchors = []
    for row in range(rows):
        for column in range(columns):
            # A pixel's centre is half a pixel from its edge.
            y, x = (grid.origin[a] + grid.stride[a] * i + 0.5 for a, i in ((1, row), (2, column)))
            for ratio in RATIOS:
                for side in SIDES:
                    height = round(side * math.sqrt(ratio) / 2)
                    width = round(side / math.sqrt(ratio) / 2)
                    anchors.append([x - width, y - height, x + width, y + height])
    return anchors


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_anchors_are_on_the_centers_of_cells(grid: FeatureGrid) -> None:
    made = network().eval()
    caught: list[list[Tensor]] = []
    made.anchors.register_forward_hook(lambda *call: caught.append(call[2]))
    made(torch.randn(2, 6, 4, 5), grid, SIZE)
    for found in caught[0]:
        torch.testing.assert_close(found, torch.tensor(slow_anchors(grid, 4, 5)))


def slow_losses(
    made: ProposalNetwork, maps: Tensor, grid: FeatureGrid, boxes: list[Tensor], seeds: list[int]
) -> dict[str, float]:
    """Ren et al. 2015, section 3.1: overlap from 0.7 on or a box's best is positive, below 0.3
    negative; of each key frame at most half of the anchors drawn are positive."""
    drawn, kinds = made.sampler.count, len(SIDES) * len(RATIOS)
    hidden = maps
    for layer in made.rpn.head.conv:
        hidden = layer(hidden)
    scores, moves = made.rpn.head.cls_logits(hidden), made.rpn.head.bbox_pred(hidden)
    anchors = slow_anchors(grid, *maps.shape[2:])
    objectness = regression = 0.0
    for picture, (truth, seed) in enumerate(zip(boxes, seeds)):
        overlaps = [[iou(anchor, box) for box in truth.tolist()] for anchor in anchors]
        best_of_box = [max(column) for column in zip(*overlaps)]
        positive, negative = [], []
        for i, row in enumerate(overlaps):
            # As torchvision's, a box's best anchor learns the box that it covers best itself.
            if row and (max(row) >= 0.7 or any(a == b for a, b in zip(row, best_of_box))):
                positive.append(i)
            elif not row or max(row) < 0.3:
                negative.append(i)
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(positive), generator=generator)[: drawn // 2].tolist()
        rest = torch.randperm(len(negative), generator=generator)[: drawn - len(chosen)].tolist()
        for i, true in [(positive[i], 1) for i in chosen] + [(negative[i], 0) for i in rest]:
            cell, kind = divmod(i, kinds)
            row, column = divmod(cell, maps.shape[3])
            p = 1 / (1 + math.exp(-scores[picture, kind, row, column].item()))
            objectness -= math.log(p if true else 1 - p)
            if true:
                x1, y1, x2, y2 = anchors[i]
                a1, b1, a2, b2 = truth[overlaps[i].index(max(overlaps[i]))].tolist()
                target = (
                    (a1 + a2 - x1 - x2) / 2 / (x2 - x1),
                    (b1 + b2 - y1 - y2) / 2 / (y2 - y1),
                    math.log((a2 - a1) / (x2 - x1)),
                    math.log((b2 - b1) / (y2 - y1)),
                )
                found = moves[picture, 4 * kind : 4 * kind + 4, row, column].tolist()
                for d in (abs(a - b) for a, b in zip(found, target)):
                    regression += 4.5 * d * d if d < 1 / 9 else d - 1 / 18
    of = min(drawn, len(anchors)) * len(boxes)
    return {"objectness": objectness / of, "proposal_boxes": regression / of}


@pytest.mark.parametrize("drawn", [8, 40, 1000])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_losses_equal_a_loop(grid: FeatureGrid, drawn: int) -> None:
    made = network(anchors_per_frame=drawn).train()
    maps = torch.randn(5, 6, 4, 5)
    y, x = (grid.origin[axis] + 0.5 + 32 for axis in (1, 2))
    boxes = [
        torch.tensor([[10.0, 12, 43, 45], [40, 5, 60, 60], [41, 6, 61, 62]]),
        torch.empty(0, 4),
        torch.tensor([[70.0, 30, 71, 32]]),  # whose best anchor covers next to nothing of it
        torch.tensor([[0.0, 0, 80, 64]]),
        # Around an anchor of 32 pixels with overlap 0.64, and one of 48 with 0.69, its best.
        torch.tensor([[x - 20, y - 20, x + 20, y + 20]]),
    ]
    _, losses = made(maps, grid, SIZE, boxes, [1, 2, 3, 4, 5])
    expected = slow_losses(made, maps, grid, boxes, [1, 2, 3, 4, 5])
    for name, value in expected.items():
        torch.testing.assert_close(losses[name].item(), value, rtol=1e-4, atol=1e-6)


def test_losses_of_parts_average_to_those_of_the_whole() -> None:
    """So that processes which share a batch take the step of one."""
    made = network().train()
    maps = torch.randn(4, 6, 4, 5)
    boxes = [
        torch.tensor([[10.0, 12, 43, 45]]),
        torch.empty(0, 4),
        torch.tensor([[0.0, 0, 80, 64]]),
    ]
    boxes.append(boxes[0] + 8)
    _, whole = made(maps, GRIDS["s3d"], SIZE, boxes, [1, 2, 3, 4])
    _, first = made(maps[:2], GRIDS["s3d"], SIZE, boxes[:2], [1, 2])
    _, second = made(maps[2:], GRIDS["s3d"], SIZE, boxes[2:], [3, 4])
    for name in whole:
        torch.testing.assert_close(whole[name], (first[name] + second[name]) / 2)


def test_background_samples_alone() -> None:
    made = network().train()
    maps = torch.randn(2, 6, 4, 5, requires_grad=True)
    found, losses = made(maps, GRIDS["i3d"], SIZE, [torch.empty(0, 4)] * 2, [1, 2])
    assert losses["objectness"] > 0 and losses["proposal_boxes"] == 0
    sum(losses.values()).backward()
    assert maps.grad is not None and maps.grad.isfinite().all() and maps.grad.any()
    for parameter in made.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
    assert len(found) == 2 and all(len(boxes) for boxes in found)


def test_proposals_are_inside_and_not_too_many() -> None:
    made = network(num_proposals=7)
    maps = torch.randn(3, 6, 4, 5)
    for training, most in ((True, 14), (False, 7)):
        made.train(training)
        boxes = [torch.empty(0, 4)] * 3 if training else None
        found, losses = made(maps, GRIDS["s3d"], SIZE, boxes, [0, 1, 2] if training else ())
        assert bool(losses) == training
        for each in found:
            assert 0 < len(each) <= most
            assert not each.requires_grad
            assert (each[:, :2] >= 0).all() and (each[:, 2:] <= torch.tensor([80, 64])).all()
            for a in range(len(each)):
                assert all(iou(each[a].tolist(), one.tolist()) <= 0.7 for one in each[:a])


def test_seeds_decide_the_draw() -> None:
    made = network(anchors_per_frame=16).train()
    maps = torch.randn(1, 6, 4, 5)
    boxes = [torch.tensor([[10.0, 12, 43, 45]])]

    def losses(seed: int) -> list[float]:
        torch.rand(3)  # whatever else draws at random
        return [loss.item() for loss in made(maps, GRIDS["s3d"], SIZE, boxes, [seed])[1].values()]

    assert losses(1) == losses(1) != losses(2)


def test_half_precision_is_for_detection_alone() -> None:
    made, maps = network().train(), torch.randn(1, 6, 4, 5)
    boxes = [torch.tensor([[10.0, 12, 43, 45]])]
    _, losses = made(maps, GRIDS["s3d"], SIZE, boxes, [1])
    with torch.autocast("cpu", torch.bfloat16):
        _, same = made(maps, GRIDS["s3d"], SIZE, boxes, [1])
        assert {name: loss.item() for name, loss in same.items()} == {
            name: loss.item() for name, loss in losses.items()
        }
        (near,), _ = made.eval()(maps, GRIDS["s3d"], SIZE)
    assert near.dtype == torch.float32


@given(
    st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60),
    st.integers(1, 40),
    st.floats(0, 1),
    st.integers(0, 2**31 - 1),
)
def test_samples(labels: list[int], count: int, fraction: float, seed: int) -> None:
    label = torch.tensor(labels, dtype=torch.float32)
    positive, negative = sample_balanced(label == 1, label == 0, count, fraction, seed)
    assert (label[positive] == 1).all() and (label[negative] == 0).all()
    assert (
        len(set(positive.tolist()))
        == len(positive)
        == min(int(count * fraction), int((label == 1).sum()))
    )
    assert len(set(negative.tolist())) == len(negative)
    assert len(negative) == min(count - len(positive), int((label == 0).sum()))
    sampler = SeededSampler(count, fraction)
    sampler.seeds = [seed]
    (first,), (second,) = sampler([label])
    assert first.nonzero()[:, 0].tolist() == sorted(positive.tolist())
    assert second.nonzero()[:, 0].tolist() == sorted(negative.tolist())


def test_every_sample_is_drawn_equally_often() -> None:
    drawn = torch.zeros(10)
    mask = torch.ones(10, dtype=torch.bool)
    for seed in range(2000):
        drawn[sample_balanced(mask, ~mask, 3, 1.0, seed)[0]] += 1
    assert (drawn / 2000 - 0.3).abs().max() < 0.05


def test_features_at_key_frames_equal_a_loop() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5, 4, 6)
    grid = FeatureGrid((3.0, 0.0, 0.0), (4, 16, 16))
    clip, keys = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([0.0, 3, 8, 9.5, 30])
    found = features_at_key_frames(maps, grid, clip, keys)
    assert found.shape == (5, 3, 4, 6)
    for i, (number, key) in enumerate(zip(clip.tolist(), keys.tolist())):
        place = min(max((key - 3) / 4, 0), 4)
        low = math.floor(place)
        high = min(low + 1, 4)
        expected = (low + 1 - place) * maps[number, :, low] + (place - low) * maps[number, :, high]
        torch.testing.assert_close(found[i], expected)


@pytest.mark.parametrize(("hidden", "channels"), [(0, 6), (6, 6), (4, 4)])
def test_hidden_channels(hidden: int, channels: int) -> None:
    made = network(hidden=hidden)
    maps = torch.randn(2, 6, 4, 5)
    assert made.rpn.head.convolve(maps).shape == (2, channels, 4, 5)
    assert made.rpn.head.cls_logits.in_channels == channels
    proposals, losses = made(
        maps, GRIDS["s3d"], SIZE, [torch.tensor([[10.0, 10, 40, 50]])] * 2, [0, 1]
    )
    assert len(proposals) == 2
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


@pytest.mark.parametrize("key_frames, convolved", [((3.0, 4, 5, 6, 8, 30), 4), ((0.0, 9), 2)])
def test_key_frames_share_the_convolution_of_time_steps(
    key_frames: tuple[float, ...], convolved: int
) -> None:
    made = network().eval()
    maps = torch.randn(2, 6, 5, 4, 5)
    grid = FeatureGrid((3.0, 0.0, 0.0), (4, 16, 16))
    clip, places = torch.ones(len(key_frames), dtype=torch.int64), torch.tensor(key_frames)
    expected, _ = made(features_at_key_frames(maps, grid, clip, places), grid, SIZE)
    few, steps = steps_at_key_frames(maps, grid, clip, places)
    assert len(few) == convolved
    found, _ = made(few, grid, SIZE, steps=steps)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@given(st.integers(0, 10**6), st.integers(0, 4))
def test_jittered_boxes_stay_near(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 100
    boxes = torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 50], dim=1)
    found = jitter_boxes(boxes, seed, copies=6)
    assert found.shape == (6 * count, 4) and torch.equal(found, jitter_boxes(boxes, seed, copies=6))
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moved = (found.reshape(6, count, 4) - boxes).abs()
    assert (moved <= 0.25 * size + 1e-4).all()
    assert (found[:, 2:] > found[:, :2]).all()


@pytest.mark.parametrize("depth", [18, 50])
def test_grid_of_the_key_frame_resnet(depth: int) -> None:
    """With the same weight everywhere, a cell's gradient is centred on what it looks at."""
    resnet = KeyFrameResNet(depth)  # type: ignore[arg-type]
    resnet.layers.maxpool = nn.AvgPool2d(3, 2, 1)
    for parameter in resnet.parameters():
        nn.init.constant_(parameter, 0.01)
    size = (224, 240)
    pictures = torch.ones(1, 3, *size, requires_grad=True)
    features = resnet.layers(pictures)
    assert features.shape == (1, resnet.out_channels, 14, 15)
    (gradient,) = torch.autograd.grad(features[0, 0, 7, 8], pictures)
    weight = gradient[0, 0].double()
    grid = resnet.grid
    for axis, cell in ((1, 7), (2, 8)):
        along = weight.sum(dim=2 - axis)
        centre = (along * torch.arange(len(along))).sum() / along.sum()
        assert abs(centre.item() - grid.origin[axis] - cell * grid.stride[axis]) < 0.05


def test_key_frame_resnet_takes_uint8_frames() -> None:
    resnet = KeyFrameResNet(18).eval()
    features = resnet(torch.zeros(2, 32, 48, 3, dtype=torch.uint8))
    assert features.shape == (2, 256, 2, 3)
    # Its norms are constants, as Faster R-CNN's.
    assert not any("bn" in name for name, _ in resnet.named_parameters())
