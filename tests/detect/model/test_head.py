"""The action head against plain loops, and against maps that say where they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from actiontubes.backbones.family import Variant, endpoint_shapes, get_variant
from actiontubes.backbones.grid import FeatureGrid
from actiontubes.backbones.inception import Trunk
from actiontubes.detect.model.head import ActionHead
from actiontubes.detect.model.losses import action_losses
from actiontubes.detect.model.postprocess import (
    KeyFrameDetections,
    actionness,
    decode_boxes,
    select_detections,
)
from actiontubes.detect.model.roi_align import Rois, roi_align_3d, roi_align_at, window_starts
from actiontubes.detect.model.roi_features import (
    DeepPoolFeatures,
    FeatureMap,
    FineBoxFeatures,
    LightPoolFeatures,
    MeanPoolFeatures,
    TrunkBlockFeatures,
)
from actiontubes.detect.model.sampling import RoiSamples, jitter_boxes, sample_rois
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("one_thread")

VARIANTS = {"same": get_variant("i3d"), "symmetric": get_variant("s3d")}
SIZE = (36, 96, 128)


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common)


def encoded(truth: list[float], proposal: list[float]) -> list[float]:
    """Fast R-CNN's regression targets, with its weights 10, 10, 5, 5."""
    width, height = proposal[2] - proposal[0], proposal[3] - proposal[1]
    wide, high = truth[2] - truth[0], truth[3] - truth[1]
    x = (truth[0] + wide / 2 - proposal[0] - width / 2) / width
    y = (truth[1] + high / 2 - proposal[1] - height / 2) / height
    return [10 * x, 10 * y, 5 * math.log(wide / width), 5 * math.log(high / height)]


def smooth_l1(difference: float, beta: float = 1 / 9) -> float:
    d = abs(difference)
    return d * d / (2 * beta) if d < beta else d - beta / 2


def boxes_around(generator: torch.Generator, count: int) -> Tensor:
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([90.0, 60.0])
    side = 8 + torch.rand(count, 2, generator=generator) * 30
    return torch.cat([corner, corner + side], dim=1)


@pytest.fixture()
def scene() -> tuple[list[Tensor], list[Tensor], list[Tensor], list[int]]:
    """Three key frames with 2, 0 and 1 people; proposals around them and anywhere."""
    generator = torch.Generator().manual_seed(3)
    truth = [boxes_around(generator, n) for n in (2, 0, 1)]
    labels = [
        torch.tensor([[0, 1.0, 1], [1, 0, 0]]),
        torch.zeros(0, 3),
        torch.tensor([[0, 0, 1.0]]),
    ]
    proposals = [
        torch.cat([jitter_boxes(boxes, 5, copies=9), boxes_around(generator, 40)])
        for boxes in truth
    ]
    return proposals, truth, labels, [11, 12, 13]


def slow_rois(
    proposals: list[Tensor],
    boxes: list[Tensor],
    labels: list[Tensor],
    seeds: list[int],
    count: int,
    share: float,
) -> list[tuple[int, list[float], list[float], list[float]]]:
    """Key frame, box, classes and regression targets of each example, one after the other."""
    rows = []
    for key, (found, truth, classes, seed) in enumerate(zip(proposals, boxes, labels, seeds)):
        generator = torch.Generator().manual_seed(seed)
        covering, background = [], []
        for box in [*found.tolist(), *truth.tolist()]:
            overlaps = [iou(box, one) for one in truth.tolist()]
            best = overlaps.index(max(overlaps)) if overlaps else -1
            if overlaps and overlaps[best] >= 0.5:
                target = encoded(truth[best].tolist(), box)
                covering.append((key, box, classes[best].tolist(), target))
            else:
                background.append((key, box, [0.0] * classes.shape[1], [0.0] * 4))
        drawn = torch.randperm(len(covering), generator=generator)[: int(count * share)]
        rows += [covering[i] for i in drawn]
        rest = torch.randperm(len(background), generator=generator)[: count - len(drawn)]
        rows += [background[i] for i in rest]
    return rows


@pytest.mark.parametrize(("count", "share"), [(16, 0.25), (16, 0.5), (200, 0.5)])
def test_sampled_rois_equal_a_loop(scene: tuple, count: int, share: float) -> None:
    samples = sample_rois(*scene, count=count, positive_fraction=share)
    rows = slow_rois(*scene, count, share)
    key, boxes, labels, deltas = (torch.tensor(column) for column in zip(*rows))
    assert samples.key_frame_index.tolist() == key.tolist()
    torch.testing.assert_close(samples.boxes, boxes)
    torch.testing.assert_close(samples.labels, labels)
    torch.testing.assert_close(samples.deltas, deltas, rtol=1e-4, atol=1e-4)
    assert samples.loss_normalizer == 3 * count
    # Both kinds are there, and of the first key frame's two people both.
    covered = samples.labels.any(dim=1)
    assert covered.any() and not covered.all()
    assert samples.labels[key == 0].any(dim=0).all()


def slow_losses(
    rows: list[tuple], logits: list, deltas: list, count: int, multi_label: bool
) -> dict[str, float]:
    classification = boxes = 0.0
    for (_, _, classes, target), scores, refined in zip(rows, logits, deltas):
        true = [i for i, value in enumerate(classes) if value]
        if multi_label:
            for score, value in zip(scores, classes):
                p = 1 / (1 + math.exp(-score))
                classification -= math.log(p if value else 1 - p) / len(classes)
        else:
            total = sum(map(math.exp, scores))
            classification -= math.log(math.exp(scores[true[0] + 1 if true else 0]) / total)
        if true:
            mine = refined[true[0] if len(refined) > 1 else 0]
            boxes += sum(smooth_l1(a - b) for a, b in zip(mine, target))
    return {"action": classification / count, "action_boxes": boxes / count}


@pytest.mark.parametrize("per_class_boxes", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_losses_equal_a_loop(scene: tuple, multi_label: bool, per_class_boxes: bool) -> None:
    torch.manual_seed(0)
    samples = sample_rois(*scene, count=16)
    rows = slow_rois(*scene, 16, 0.5)
    logits = torch.randn(len(rows), 3 if multi_label else 4, requires_grad=True)
    deltas = torch.randn(len(rows), 3 if per_class_boxes else 1, 4, requires_grad=True)
    losses = action_losses(logits, deltas, samples, multi_label=multi_label)
    expected = slow_losses(rows, logits.tolist(), deltas.tolist(), 3 * 16, multi_label)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name].item(), value, rtol=1e-4, atol=1e-6)
    losses["action_boxes"].backward()
    assert deltas.grad is not None
    # Background moves no box; a true example moves the one of its class alone.
    moved = deltas.grad.abs().sum(dim=2) > 0
    assert (moved.sum(dim=1) == samples.labels.any(dim=1)).all()


def decoded(deltas: list[float], box: list[float]) -> list[float]:
    """The inverse of `encoded`."""
    width, height = box[2] - box[0], box[3] - box[1]
    x = box[0] + width / 2 + deltas[0] / 10 * width
    y = box[1] + height / 2 + deltas[1] / 10 * height
    wide, high = width * math.exp(deltas[2] / 5), height * math.exp(deltas[3] / 5)
    return [x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]


def test_losses_of_a_separate_background_by_hand(scene: tuple) -> None:
    torch.manual_seed(0)
    samples = sample_rois(*scene, count=16, positive_fraction=0.25)
    logits = torch.randn(len(samples.boxes), 4)
    deltas = torch.randn(len(logits), 1, 4, requires_grad=True)
    losses = action_losses(logits, deltas, samples, separate_background=True)
    background = action = 0.0
    seen: set[bool] = set()
    _, people, _, _ = scene
    rows = zip(
        logits.tolist(), deltas.tolist(), samples.key_frame_index, samples.boxes, samples.labels
    )
    for row, (move,), key, box, labels in rows:
        # The person is the one that the example overlaps best, the IoU that of the refined box.
        near = max(people[key].tolist(), key=lambda one: iou(one, box.tolist()), default=None)
        well = iou(near, decoded(move, box.tolist())) if near else 0.0
        well, seen = well if well >= 0.5 else 0.0, {*seen, well >= 0.5}
        p = 1 / (1 + math.exp(-row[0]))
        background -= (1 - well) * math.log(p) + well * math.log(1 - p)
        if labels.any():
            action -= row[1 + labels.tolist().index(1)] - math.log(sum(map(math.exp, row[1:])))
    assert losses["background"].item() == pytest.approx(background / (3 * 16) / 2, rel=1e-4)
    assert losses["action"].item() == pytest.approx(action / (3 * 4), rel=1e-4)
    assert seen == {True, False}
    # Scores learn from where boxes come to lie; boxes do not move for the scores' sake.
    assert losses["action_boxes"].requires_grad and not losses["background"].requires_grad


@pytest.mark.parametrize("multi_label", [False, True])
def test_background_samples_alone(multi_label: bool) -> None:
    proposals = [torch.tensor([[2.0, 2, 30, 30], [9, 9, 20, 40]]), torch.empty(0, 4)]
    none = [torch.empty(0, 4)] * 2
    samples = sample_rois(proposals, none, [torch.zeros(0, 3)] * 2, [0, 1], count=8)
    assert len(samples.boxes) == 2 and not samples.labels.any() and not samples.deltas.any()
    logits = torch.randn(2, 3 if multi_label else 4, requires_grad=True)
    deltas = torch.randn(2, 1, 4, requires_grad=True)
    losses = action_losses(logits, deltas, samples, multi_label=multi_label)
    sum(losses.values()).backward()
    assert losses["action"] > 0 and losses["action_boxes"] == 0
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad.any()
    assert deltas.grad is not None and not deltas.grad.any()


def test_losses_without_samples() -> None:
    samples = sample_rois([torch.empty(0, 4)], [torch.empty(0, 4)], [torch.zeros(0, 3)], [0])
    logits, deltas = torch.empty(0, 4, requires_grad=True), torch.empty(0, 1, 4, requires_grad=True)
    losses = action_losses(logits, deltas, samples, multi_label=False)
    assert sum(losses.values()) == 0


def coordinates(variant: Variant, endpoint: str) -> tuple[FeatureGrid, Tensor]:
    """A map (1, 3, T, H, W) of the frame, row and column on which each cell is centred."""
    with torch.device("meta"):
        grid = Trunk(variant).grid(endpoint, SIZE)
    _, time, space = endpoint_shapes()[endpoint]
    shape = (-(-SIZE[0] // time), -(-SIZE[1] // space), -(-SIZE[2] // space))
    axes = [
        first + stride * torch.arange(length)
        for first, stride, length in zip(grid.origin, grid.stride, shape)
    ]
    return grid, torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def mean_pooling() -> MeanPoolFeatures:
    features = MeanPoolFeatures(3, 4)
    features.layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return features


def all_steps() -> TrunkBlockFeatures:
    return TrunkBlockFeatures(nn.Identity(), 3, 3)


@pytest.mark.parametrize("make", [mean_pooling, all_steps])
@pytest.mark.parametrize("endpoint", ["Mixed_3c", "Mixed_4e"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_pooled_coordinates_are_those_of_box_and_key_frame(
    variant: Variant, endpoint: str, make: Callable[[], nn.Module]
) -> None:
    grid, maps = coordinates(variant, endpoint)
    window = 5
    frames = torch.arange(SIZE[0], dtype=torch.float64)
    # Boxes between the outermost cells' centres: beyond them features are extended, not continued.
    boxes = torch.tensor([[20.0, 24, 90, 70], [40, 30, 48, 38], [17, 16, 60, 80]])
    boxes = boxes[torch.arange(len(frames)) % 3]
    clip = torch.zeros(len(frames), dtype=torch.long)
    found, _ = make()([FeatureMap(maps, grid, window)], Rois(boxes, clip, frames))
    cell = grid.stride[1]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5  # a pixel is counted by its centre
    assert (found[:, 2] - centre[:, 0]).abs().max() < 0.1 * cell
    assert (found[:, 1] - centre[:, 1]).abs().max() < 0.1 * cell
    # In time: no other window's centre is nearer, and a key frame at a centre gets just that one.
    times = maps[0, 0, :, 0, 0].double()
    centres = times.unfold(0, window, 1).mean(dim=1)
    nearest = (frames[:, None] - centres).abs().min(dim=1).values
    torch.testing.assert_close((found[:, 0] - frames).abs(), nearest, atol=1e-4, rtol=0)
    inside = (frames >= centres[0]) & (frames <= centres[-1])
    assert inside.sum() > 4
    assert (found[inside, 0] - frames[inside]).abs().max() <= grid.stride[0] / 2 + 1e-4
    rois = Rois(boxes[: len(centres)], clip[: len(centres)], centres)
    at_centre, _ = make()([FeatureMap(maps, grid, window)], rois)
    assert (at_centre[:, 0] - centres).abs().max() < 0.1 * grid.stride[0]


def test_windows_at_the_ends_of_a_clip() -> None:
    grid = FeatureGrid((3.0, 0.0, 0.0), (4, 16, 16))
    keys = torch.tensor([0, 11, 12, 13, 14, 31])
    # Steps stand on frames 3, 7, ...; of two equally near windows the earlier one.
    assert window_starts(keys, grid, 3, 8).tolist() == [0, 1, 1, 1, 2, 5]
    assert window_starts(torch.tensor([13.0, 13.25]), grid, 3, 8).tolist() == [1, 2]
    assert window_starts(keys, grid, 8, 8).tolist() == [0] * 6


def test_window_and_key_frame_equal_pooling_every_step() -> None:
    torch.manual_seed(1)
    maps = torch.randn(2, 6, 9, 6, 8)
    grid = FeatureGrid((1.5, 15.0, 15.0), (4, 16, 16))
    boxes = boxes_around(torch.Generator().manual_seed(0), 7)
    clip, keys = torch.tensor([0, 1, 1, 0, 0, 1, 0]), torch.tensor([0, 4, 9, 15, 18, 30, 35])
    features = MeanPoolFeatures(6, 4, size=3)
    features.layers = features.box_layers = nn.Sequential(nn.Flatten(1))
    found, on_key_frames = features([FeatureMap(maps, grid, 4)], Rois(boxes, clip, keys))
    pooled = roi_align_3d(maps, boxes, clip, grid, 3)
    for i, start in enumerate(window_starts(keys, grid, 4, 9).tolist()):
        expected = pooled[i, :, start : start + 4].mean(dim=1).flatten()
        torch.testing.assert_close(found[i], expected)
        place = min(max((keys[i].item() - 1.5) / 4, 0), 8)  # in time steps
        before, after = math.floor(place), math.ceil(place)
        expected = torch.lerp(pooled[i, :, before], pooled[i, :, after], place - before).flatten()
        torch.testing.assert_close(on_key_frames[i], expected)


def test_remaining_blocks_see_the_window_in_order() -> None:
    maps = torch.arange(8.0)[None, None, :, None, None].expand(1, 3, 8, 6, 8)
    grid = FeatureGrid((0.0, 0.0, 0.0), (4, 16, 16))
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x[:, 0, :, 0, 0])
            return x

    keys = torch.tensor([0, 13.5, 31])
    boxes = torch.tensor([[20.0, 20, 60, 60]]).expand(3, -1)
    blocks = TrunkBlockFeatures(Spy(), 3, 3)
    blocks.box_layers = nn.Flatten(1)
    rois = Rois(boxes, torch.zeros(3).long(), keys)
    mean, on_key_frame = blocks([FeatureMap(maps, grid, 3)], rois)
    assert seen[0].tolist() == [[0, 1, 2], [2, 3, 4], [5, 6, 7]]
    assert mean.tolist() == [[1.0] * 3, [3.0] * 3, [6.0] * 3]
    # Boxes are seen on the key frame itself, wherever it stands between two time steps.
    assert on_key_frame.shape == (3, 3 * 7 * 7)
    assert on_key_frame[:, 0].tolist() == pytest.approx([0, 3.375, 7], abs=1e-6)


@pytest.mark.parametrize("scoring", ["softmax", "multi_label", "separate_background"])
@pytest.mark.parametrize("per_class_boxes", [False, True])
def test_shapes_and_probabilities(scoring: str, per_class_boxes: bool) -> None:
    torch.manual_seed(0)
    multi_label = scoring == "multi_label"
    head = ActionHead(
        MeanPoolFeatures(6, 16, size=3), 5, multi_label=multi_label,
        per_class_boxes=per_class_boxes,
        separate_background=scoring == "separate_background",
    )  # fmt: skip
    grid = FeatureGrid((0.0, 0.0, 0.0), (4, 16, 16))
    boxes = boxes_around(torch.Generator().manual_seed(0), 7)
    rois = Rois(boxes, torch.zeros(7, dtype=torch.long), torch.full((7,), 10))
    # A window longer than the map is the whole map.
    for window in (5, 50):
        logits, deltas = head([FeatureMap(torch.randn(1, 6, 5, 6, 8), grid, window)], rois)
        assert logits.shape == (7, 5 + (not multi_label))
        assert deltas.shape == (7, 5 if per_class_boxes else 1, 4)
    found = head.probabilities(logits)
    assert found.shape == (7, 5) and (found > 0).all() and (found < 1).all()
    if not multi_label:
        alone = head.separate_background
        background = logits[:, 0].sigmoid() if alone else logits.softmax(dim=1)[:, 0]
        torch.testing.assert_close(found.sum(dim=1) + background, torch.ones(7))
    expected = found.max(dim=1).values if multi_label else 1 - background
    torch.testing.assert_close(actionness(found, multi_label), expected)
    # A new head refines next to nothing, and prefers no class.
    assert deltas.abs().max() < 0.05 and found.std(dim=1).max() < 0.05


@pytest.mark.parametrize("norm", [False, True])
def test_light_head_equals_pooling_all_channels_first(norm: bool) -> None:
    """Reducing channels, mean and pooling are linear: any order of them is the same."""
    torch.manual_seed(1)
    maps, grid = torch.randn(2, 6, 9, 6, 8), FeatureGrid((1.5, 15.0, 15.0), (4, 16, 16))
    boxes = boxes_around(torch.Generator().manual_seed(0), 7)
    clip, keys = torch.tensor([0, 1, 1, 0, 0, 1, 0]), torch.tensor([0, 4, 9, 15, 18, 30, 35])
    features = LightPoolFeatures(6, 16, reduced=4, size=3, norm=norm)
    rois = Rois(boxes, clip, keys)
    found, on_key_frames = features([FeatureMap(maps, grid, 4)], rois)
    assert found.shape == on_key_frames.shape == (7, 16)
    every_step = roi_align_3d(maps, boxes, clip, grid, 3)
    starts = window_starts(keys, grid, 4, 9).tolist()
    windows = torch.stack([every_step[i, :, s : s + 4].mean(dim=1) for i, s in enumerate(starts)])
    kernel, bias = features.reduction.weight.flatten(1), features.reduction.bias
    for half, layers, pooled, value in (
        (slice(4), features.layers, windows, found),
        (slice(4, 6), features.box_layers, roi_align_at(maps, grid, rois, 3), on_key_frames),
    ):
        reduced = torch.einsum("rchw,dc->rdhw", pooled, kernel[half])
        expected = layers(reduced + bias[half][:, None, None])
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


def test_mixed_head_pools_each_map_where_it_lies() -> None:
    """Classes from the window's mean of the last map, boxes from the key frame of the first."""
    torch.manual_seed(0)
    box_map = FeatureMap(torch.randn(1, 3, 8, 6, 8), FeatureGrid((0, 0, 0), (4, 16, 16)), 3)
    class_map = FeatureMap(torch.randn(1, 5, 4, 3, 4), FeatureGrid((2, 8, 8), (8, 32, 32)), 2)
    features = DeepPoolFeatures(3, 5, size=3)
    features.box_layers = nn.Flatten(1)
    rois = Rois(torch.tensor([[20.0, 20, 60, 60], [0, 10, 90, 80]]), torch.zeros(2).long(),
                torch.tensor([10.0, 22.0]))  # fmt: skip
    scores, on_key_frames = features([box_map, class_map], rois)
    expected = roi_align_3d(class_map.features, rois.boxes, rois.clip_index, class_map.grid, 3)
    # Windows of two steps are centered on frames 6, 14 and 22.
    assert torch.allclose(scores[0, :5], expected[0, :, 0:2].mean((1, 2, 3)), atol=1e-6)
    assert torch.allclose(scores[1, :5], expected[1, :, 2:4].mean((1, 2, 3)), atol=1e-6)
    # Whether anybody is in the box is seen in the first map.
    assert torch.equal(scores[:, 5:], on_key_frames)
    expected = roi_align_at(box_map.features, box_map.grid, rois, 3)
    assert torch.equal(on_key_frames, expected.flatten(1))


@pytest.mark.parametrize("norm", [False, True])
def test_fine_features_are_those_around_the_box_at_the_key_frame(norm: bool) -> None:
    """By hand: both time steps pooled around each box; and the other map's features go on."""
    torch.manual_seed(1)
    fine = FeatureMap(torch.randn(2, 6, 5, 24, 32), FeatureGrid((0, 1.5, 1.5), (2, 4, 4)), 3)
    coarse = FeatureMap(torch.randn(2, 3, 5, 6, 8), FeatureGrid((0, 7.5, 7.5), (2, 16, 16)), 3)
    boxes = torch.tensor([[20.0, 20, 60, 60], [50, 30, 90, 70], [8, 10, 40, 86]])
    rois = Rois(boxes, torch.tensor([0, 1, 1]), torch.tensor([2.0, 2.5, 7.0]))
    others = MeanPoolFeatures(3, 16, size=3, norm=norm)
    features = FineBoxFeatures(others, 6, 16, size=4, norm=norm)
    assert (features.out_channels, features.box_channels) == (16, 16)
    scores, found = features([fine, coarse], rois)
    other_scores, other_boxes = others([coarse], rois)
    torch.testing.assert_close(scores, other_scores)
    around = torch.tensor([[15.0, 15, 65, 65], [45, 25, 95, 75], [4, 0.5, 44, 95.5]])
    steps = torch.tensor([[1, 2], [1, 2], [3, 4]])
    pooled = roi_align_3d(fine.features, around, rois.clip_index, fine.grid, 4, steps)
    before, after = pooled.unbind(2)
    part = torch.tensor([0.0, 0.25, 0.5])[:, None, None, None]  # of the way to the step after
    beside = torch.tensor([0.0, 0.75, 1.0])[:, None, None, None]
    mixed = torch.cat([(1 - part) * before + part * after, beside * before, beside * after], 1)
    reduced = torch.einsum("rchw,dc->rdhw", mixed, features.reduction.weight.flatten(1))
    joined = torch.cat([other_boxes, features.layers(reduced)], dim=1)
    torch.testing.assert_close(found, features.joint(joined), atol=1e-5, rtol=1e-4)


def mean_head() -> MeanPoolFeatures:
    return MeanPoolFeatures(6, 16, size=3, norm=True)


def light_head() -> LightPoolFeatures:
    return LightPoolFeatures(6, 16, reduced=4, size=3, norm=True)


@pytest.mark.parametrize("make", [mean_head, light_head])
def test_norms_of_a_new_head_survive_few_proposals(
    make: Callable[[], MeanPoolFeatures | LightPoolFeatures],
) -> None:
    """Batch norms have no mean of no box, and no spread of one."""
    torch.manual_seed(0)
    head = ActionHead(make(), 2).train()
    grid = FeatureGrid((0.0, 0.0, 0.0), (4, 16, 16))
    before = {key: value.clone() for key, value in head.state_dict().items()}
    for count in (0, 1):
        boxes = torch.tensor([[10.0, 10, 50, 60]])[:count]
        none = torch.zeros(count, dtype=torch.long)
        maps = FeatureMap(torch.randn(1, 6, 5, 6, 8), grid, 5)
        logits, deltas = head([maps], Rois(boxes, none, none))
        assert logits.shape == (count, 3)
        (logits.sum() + deltas.sum()).backward()
    for parameter in head.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
    for key, value in head.state_dict().items():
        assert torch.equal(value, before[key]), key


def slow_detections(
    probabilities: Tensor, deltas: Tensor, proposals: Tensor, key: Tensor, size: tuple[int, int]
) -> list[tuple[int, int, float, list[float]]]:
    """Threshold 0.2, NMS at 0.4 in each class of each key frame, then the best 5 of a key frame.

    A box wholly outside the picture is none.
    """
    rows = []
    for i, box in enumerate(proposals.tolist()):
        width, height = box[2] - box[0], box[3] - box[1]
        for label, score in enumerate(probabilities[i].tolist()):
            dx, dy, dw, dh = deltas[i, label if deltas.shape[1] > 1 else 0].tolist()
            x, y = box[0] + width / 2 + dx / 10 * width, box[1] + height / 2 + dy / 10 * height
            wide, high = width * math.exp(dw / 5) / 2, height * math.exp(dh / 5) / 2
            refined = [
                min(max(value, 0), edge)
                for value, edge in zip(
                    (x - wide, y - high, x + wide, y + high), (size[1], size[0]) * 2
                )
            ]
            inside = refined[2] > refined[0] and refined[3] > refined[1]
            if score > 0.2 and inside:
                rows.append((key[i].item(), label, score, refined))
    kept: list[tuple] = []
    for row in sorted(rows, key=lambda row: -row[2]):
        overlaps = [iou(one[3], row[3]) for one in kept if one[:2] == row[:2]]
        # torch counts in single precision: on which side of the threshold it comes out is open.
        assume(all(abs(overlap - 0.4) > 1e-4 for overlap in overlaps))
        if all(overlap <= 0.4 for overlap in overlaps):
            kept.append(row)
    return [
        row for k in sorted(set(key.tolist())) for row in [one for one in kept if one[0] == k][:5]
    ]


FRAME_SIZE = (70, 110)


def select(
    probabilities: Tensor, deltas: Tensor, proposals: Tensor, key: Tensor, **options: float
) -> KeyFrameDetections:
    boxes = decode_boxes(deltas, proposals, FRAME_SIZE)
    return select_detections(probabilities, boxes, key, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("per_class_boxes", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_selected_detections_equal_a_loop(per_class_boxes: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    count = 30
    proposals = boxes_around(generator, count)
    key = torch.randint(0, 4, (count,), generator=generator).sort().values
    probabilities = torch.rand(count, 3, generator=generator)
    deltas = torch.randn(count, 3 if per_class_boxes else 1, 4, generator=generator)
    found = select(
        probabilities,
        deltas,
        proposals,
        key,
        threshold=0.2,
        nms_iou=0.4,
        max_detections=5,
    )
    expected = slow_detections(probabilities, deltas, proposals, key, FRAME_SIZE)
    assert found.key_frame_index.tolist() == [row[0] for row in expected]
    assert found.label.tolist() == [row[1] for row in expected]
    torch.testing.assert_close(found.score.tolist(), [row[2] for row in expected])
    torch.testing.assert_close(found.boxes, torch.tensor([row[3] for row in expected]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_voted_boxes_equal_a_loop(seed: int) -> None:
    """Same detections and scores as without; each box the mean of those that overlap it."""
    generator = torch.Generator().manual_seed(seed)
    count = 40
    proposals = boxes_around(generator, 4).repeat(10, 1)
    key = torch.randint(0, 3, (count,), generator=generator).sort().values
    probabilities = torch.rand(count, 2, generator=generator)
    deltas = 0.8 * torch.randn(count, 1, 4, generator=generator)
    options = {"threshold": 0.3, "nms_iou": 0.4}
    plain = select(probabilities, deltas, proposals, key, **options)
    voted = select(probabilities, deltas, proposals, key, **options, vote_iou=0.6)
    for name in ("key_frame_index", "label", "score"):
        assert torch.equal(getattr(plain, name), getattr(voted, name))
    refined = decode_boxes(deltas, proposals, FRAME_SIZE)[:, 0].tolist()
    for row, box in enumerate(plain.boxes.tolist()):
        label, total, weights = int(plain.label[row]), [0.0] * 4, 0.0
        for i, other in enumerate(refined):
            score = float(probabilities[i, label])
            if key[i] != plain.key_frame_index[row] or score <= 0.3:
                continue
            overlap = iou(box, other)
            assume(abs(overlap - 0.6) > 1e-4)
            if overlap >= 0.6:
                total = [a + score * b for a, b in zip(total, other)]
                weights += score
        torch.testing.assert_close(voted.boxes[row].tolist(), [a / weights for a in total],
                                   rtol=1e-4, atol=1e-3)  # fmt: skip


def test_no_detections() -> None:
    deltas, key = torch.zeros(3, 1, 4), torch.tensor([0, 0, 1])
    proposals = torch.tensor([[1.0, 1, 9, 9]]).expand(3, -1)
    found = select(torch.full((3, 2), 0.001), deltas, proposals, key)
    assert len(found.key_frame_index) == len(found.label) == len(found.score) == 0
    assert found.boxes.shape == (0, 4)
    none = torch.empty(0)
    found = select(none.reshape(0, 2), none.reshape(0, 2, 4), none.reshape(0, 4), none.long())
    assert found.boxes.shape == (0, 4)


def test_empty_refined_boxes_are_left_out() -> None:
    """The first goes off the picture."""
    proposals = torch.tensor([[0.0, 0, 20, 20], [10, 10, 40, 40]])
    deltas = torch.tensor([[[-30.0, 0, 0, 0]], [[0.0, 0, 0, 0]]])
    found = select(torch.full((2, 1), 0.9), deltas, proposals, torch.zeros(2).long())
    assert found.boxes.tolist() == [[10, 10, 40, 40]]


def test_samples_carry_no_gradient(scene: tuple) -> None:
    """What the head learns from carries no gradient back into the proposals."""
    proposals, *rest = scene
    leaves = [boxes.clone().requires_grad_() for boxes in proposals]
    samples = sample_rois([leaf.detach() for leaf in leaves], *rest)
    assert isinstance(samples, RoiSamples)
    assert not samples.boxes.requires_grad and not samples.deltas.requires_grad
