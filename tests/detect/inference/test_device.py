"""Precision: what "auto" takes on a device, and that bfloat16 changes no label on real frames."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.backbones.fold_norms import fold_norms
from actiontubes.datasets.video.reader import read_video
from actiontubes.datasets.video.resize import resize
from actiontubes.detect.inference import device as device_module
from actiontubes.detect.inference.clip_batches import ClipBatch, iter_clip_batches
from actiontubes.detect.inference.clip_geometry import ClipGeometry
from actiontubes.detect.inference.device import choose_precision
from actiontubes.detect.inference.predictor import TorchPredictor
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from torch import Tensor

VIDEOS = (
    "v_Basketball_g01_c02", "v_Biking_g01_c01", "v_HorseRiding_g01_c03", "v_SkateBoarding_g02_c01",
)  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "device", "expected"),
    [
        ({"_is_avx512_bf16_supported": True}, "cpu", "bf16"),
        ({"_is_avx512_bf16_supported": False}, "cpu", "no"),
        ({"capability": (8, 0)}, "cuda", "bf16"), ({"capability": (7, 5)}, "cuda:1", "no"),
        ({}, "mps", "no"),
    ],
)  # fmt: skip
def test_auto_takes_bfloat16_where_it_is_native(
    machine: dict, device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module.platform, "machine", lambda: "x86_64")
    native = machine.get("_is_avx512_bf16_supported", True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: machine["capability"])
    assert choose_precision("auto", device) == expected
    trains = "no" if device == "cpu" else expected
    assert choose_precision("auto", device, training=True) == trains
    for asked in ("no", "bf16", "fp16"):
        assert choose_precision(asked, device) == asked


def test_bfloat16_changes_no_label_of_real_frames(shared: Callable[[str], Path]) -> None:
    """A head fitted to name the video of each box does so on other frames in both precisions.

    Where one score is above 0.9 they differ by less than 0.01; between 0 and 1 scores are steep.
    """
    height, width = 96, 128
    config = DetectorConfig(
        labels=VIDEOS, backbone="s3d-g", width_multiplier=0.25, endpoint="Mixed_4b", hidden=64,
        proposals="external", frames=8, size=(height, width), norm="batch",
    )  # fmt: skip
    boxes = np.array([[0.1, 0.2, 0.5, 0.9], [0.4, 0.1, 0.8, 0.8], [0, 0, 0.7, 1]])
    boxes *= (width, height, width, height)
    batches = []
    for name in VIDEOS:
        frames = islice(read_video(shared(f"ucf101-24/videos/{name}.mp4")), 24)
        resized = ((resize(frame, height, width), boxes) for frame in frames)
        batches += iter_clip_batches(resized, ClipGeometry(config))
    torch.manual_seed(0)
    detector = build_detector(config).eval()
    fit_scores(detector, batches)

    def predict(dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
        folded = fold_norms(copy.deepcopy(detector), dtype)
        predictor = TorchPredictor(folded, autocast_dtype=dtype)
        rows = [each for batch in batches for each in predictor.predict(batch)[1::2]]
        return torch.cat([each.probabilities for each in rows]), torch.cat(
            [each.boxes for each in rows]
        )

    scores, refined = predict(None)
    near_scores, near_refined = predict(torch.bfloat16)
    right = torch.arange(len(VIDEOS)).repeat_interleave(len(scores) // len(VIDEOS))
    assert (scores.argmax(1) == right).float().mean() > 0.9, "the head tells the videos apart"
    assert torch.equal(scores.argmax(1), near_scores.argmax(1))
    sure = scores.max(1).values > 0.9
    assert sure.float().mean() > 0.9
    torch.testing.assert_close(near_scores[sure], scores[sure], rtol=0, atol=0.01)
    torch.testing.assert_close(near_scores, scores, rtol=0, atol=0.1)
    torch.testing.assert_close(near_refined, refined, rtol=0, atol=0.5)


def fit_scores(detector: Detector, batches: Sequence[ClipBatch]) -> None:
    """Least squares of the layer of class scores, on every second key frame of the batches."""
    inputs: list[Tensor] = []
    hook = detector.head.scores.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    predictor = TorchPredictor(detector)
    boxes = len(batches[0].person_boxes[0])
    for batch in batches:
        predictor.predict(batch)
    hook.remove()
    features = [each.unflatten(0, (-1, boxes))[::2].flatten(0, 1) for each in inputs]
    label = torch.arange(1, len(batches) + 1).repeat_interleave(len(features[0]))
    x = torch.cat(features)
    mean, scale = x.mean(0), x.std(0).mean()
    x = (x - mean) / scale
    wanted = 6 * torch.nn.functional.one_hot(label).float()  # logits of a sure detector
    weight = torch.linalg.solve(
        x.T @ x + len(x) * 0.01 * torch.eye(x.shape[1]), x.T @ (wanted - wanted.mean(0))
    )
    with torch.no_grad():
        detector.head.scores.weight.copy_(weight.T / scale)
        detector.head.scores.bias.copy_(wanted.mean(0) - (mean / scale) @ weight)
