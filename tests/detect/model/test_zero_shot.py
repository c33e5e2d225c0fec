"""Actions of people by a classifier of whole videos: labels, features of a clip, logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import kinetics400_labels
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.labels import load_label_map
from actiontubes.detect.model.zero_shot import (
    ClipFeatures,
    LabelGroups,
    clip_features,
    person_logits,
    select_labels,
)

CLASSES = ("archery", "bowling", "diving cliff", "salsa dancing")


def tiny_model(last: str = "Mixed_5c", classes: int = 4) -> PretrainedModel:
    torch.manual_seed(0)
    trunk = Trunk(get_variant("i3d"), width_multiplier=0.125, last=last).eval()
    head = Classifier(trunk.out_channels, classes).eval()
    return PretrainedModel(trunk, head, CLASSES[:classes], (0.5,) * 3, (0.5,) * 3)


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(-1).numpy()


def test_groups_share_a_softmax_of_their_classes() -> None:
    logits = np.log([[4.0, 1, 2, 99, 3], [1, 1, 1, 99, 1]])
    labels = LabelGroups(("x", "y"), ((0, 2), (4,)))  # class 3, the surest, is not asked for
    np.testing.assert_allclose(labels.scores(logits), [[6 / 9, 3 / 9], [2 / 3, 1 / 3]])
    np.testing.assert_allclose(labels.scores(logits[0]), [6 / 9, 3 / 9])
    np.testing.assert_allclose(labels.scores(logits + 1000), labels.scores(logits))


def test_all_classes_are_a_softmax() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (3, 4))
    chosen = select_labels(None, CLASSES)
    assert chosen.names == CLASSES
    np.testing.assert_allclose(chosen.scores(logits), softmax(logits))


def test_some_classes_in_the_order_of_the_option() -> None:
    chosen = select_labels(["Salsa_dancing", "archery", "salsa dancing"], CLASSES)
    assert chosen == LabelGroups(("salsa dancing", "archery"), ((3,), (0,)))
    logits = np.random.default_rng(0).normal(0, 5, (3, 4))
    np.testing.assert_allclose(chosen.scores(logits), softmax(logits[:, [3, 0]]))


def test_the_classes_of_a_data_set() -> None:
    classes = kinetics400_labels()
    chosen = select_labels(["ucf101-24"], classes)
    groups = {name: [classes[i] for i in group] for name, group in zip(chosen.names, chosen.groups)}
    assert groups == load_label_map("ucf101-24")
    scores = chosen.scores(np.random.default_rng(0).normal(0, 3, (5, 400)))
    assert scores.shape == (5, 24)
    np.testing.assert_allclose(scores.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["archrey"], "--labels archrey: unknown class; similar ones are archery"),
        (["bowling", "Cliff diving"], "--labels Cliff diving: .* similar ones are diving cliff"),
        (["zzz"], "similar ones are archery, bowling"),
        (["ucf101-24", "bowling"], "--labels ucf101-24: unknown class"),
        (
            ["jhmdb"],
            "--labels jhmdb: needs weights trained on Kinetics-400; these weights have no class",
        ),
    ],
)
def test_unknown_labels_suggest_similar_ones(chosen: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        select_labels(chosen, CLASSES)


def test_a_short_clip_repeats_its_last_frame() -> None:
    model = tiny_model()
    clip = np.random.default_rng(0).integers(0, 255, (5, 64, 96, 3), dtype=np.uint8)
    short = clip_features(model, clip, "cpu", 16)
    full = clip_features(model, np.concatenate([clip, np.repeat(clip[-1:], 11, 0)]), "cpu", 16)
    assert (short.frames, full.frames) == (5, 16)
    assert short.size == full.size == (16, 64, 96)
    torch.testing.assert_close(short.features, full.features)
    np.testing.assert_array_equal(short.scene, full.scene)


def test_scene_logits_are_the_classifiers() -> None:
    model = tiny_model()
    clip = np.random.default_rng(0).integers(0, 255, (16, 64, 96, 3), dtype=np.uint8)
    found = clip_features(model, clip, "cpu", 16)
    x = (torch.from_numpy(clip)[None].permute(0, 4, 1, 2, 3).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        features = model.trunk(x)
        assert model.head is not None
        expected = model.head(features)[0].numpy()
    torch.testing.assert_close(found.features, features, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(found.scene, expected, atol=1e-5)


def where_and_when(size: tuple[int, int, int]) -> tuple[PretrainedModel, ClipFeatures]:
    """A classifier whose three logits are the frame, row and column of its features."""
    model = tiny_model("Mixed_4e", classes=3)
    assert model.head is not None
    model.head.fc = torch.nn.Linear(3, 3)
    model.head.fc.weight.data = torch.eye(3)
    model.head.fc.bias.data.zero_()
    grid = model.trunk.grid("Mixed_4e", size)
    shape = [-(-length // stride) for length, stride in zip(size, grid.stride)]
    axes = [f + s * torch.arange(n) for f, s, n in zip(grid.origin, grid.stride, shape)]
    features = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].float()
    return model, ClipFeatures(features, np.zeros(3), size, size[0])


def test_a_person_is_pooled_in_their_boxes_and_frames() -> None:
    size = (32, 256, 352)
    model, clip = where_and_when(size)
    frame = np.arange(32)
    walker = np.stack([80 + 4 * frame, 100 - frame, 120 + 4 * frame, 160 - frame], axis=1)
    sitter = np.tile([200, 100, 260, 160], (32, 1))
    boxes = np.stack([walker, walker, sitter]) / [352, 256, 352, 256]
    present = np.zeros((3, 32), bool)
    present[0] = True
    present[1, 10:20] = True
    present[2, 31] = True
    boxes[~present] = 7  # what stands where nobody is must not matter
    logits, frames = person_logits(model, clip, boxes, present)
    assert frames.tolist() == [32, 10, 1]
    # Clips' cells are 4 frames long and 16 pixels wide: both are right to within a part of that.
    np.testing.assert_allclose(logits[:, 0], [15.5, 14.5, 31], atol=0.2)
    np.testing.assert_allclose(
        logits[:, 1:],
        [[130 - 15.5 - 0.5, 100 + 62 - 0.5], [130 - 14.5 - 0.5, 100 + 58 - 0.5], [129.5, 229.5]],
        atol=0.1,
    )


def test_an_absent_person_has_no_logits() -> None:
    model, clip = where_and_when((32, 256, 352))
    logits, frames = person_logits(model, clip, np.zeros((1, 32, 4)), np.zeros((1, 32), bool))
    assert frames.tolist() == [0] and logits.tolist() == [[0, 0, 0]]


def test_people_are_independent() -> None:
    model, clip = where_and_when((32, 256, 352))
    random = np.random.default_rng(0)
    corner = random.uniform(0, 0.6, (4, 32, 2))
    boxes = np.concatenate([corner, corner + 0.3], axis=2)
    present = random.random((4, 32)) < 0.5
    together, _ = person_logits(model, clip, boxes, present)
    for i in range(4):
        alone, _ = person_logits(model, clip, boxes[i : i + 1], present[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5)
