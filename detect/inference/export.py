"""A trained detector as one ONNX file, or as one of `torch.export`: trunk, proposals and head.

The model takes one clip of a fixed length and any number of key frames in it, and gives scores and
refined boxes; choosing among these is left to who runs it (`found.keep_best`).
"""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image, nms

from ...backbones.fold_norms import fold_norms
from ...backbones.grid import FeatureGrid
from ...datasets.errors import InputError
from ...datasets.files import atomic_write
from ...datasets.flow.estimate import STREAM_CHANNELS
from ..model.detector import Detector
from ..model.postprocess import decode_boxes
from ..model.rpn import ProposalNetwork
from .clip_geometry import ClipGeometry
from .onnx_predictor import METADATA_KEY

OPSETS = range(18, 22)
"""ONNX operator sets that onnxruntime was tried with; 18 is PyTorch's own."""
_ROW = 8  # key frames whose pictures stand side by side for NMS


class ExportableDetector(nn.Module):
    """A detector for one clip, without Python between its tensors.

    Args:
        detector: in evaluation mode; it is copied.
        frames: length of the clip.
    """

    def __init__(self, detector: Detector, frames: int) -> None:
        super().__init__()
        detector = fold_norms(copy.deepcopy(detector).cpu().eval().requires_grad_(False))
        if detector.proposals is not None:
            detector.proposals = BatchedProposals(detector.proposals)  # type: ignore[assignment]
        self.detector, self.frames = detector, frames

    def forward(
        self,
        clip: Tensor,
        key_frames: Tensor,
        boxes: Tensor | None = None,
        key: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is done by whom.

        Args:
            clip: (T, H, W, C) uint8, of the length and size that the file says.
            key_frames: (K,) float32, frames of the clip from 0.
            boxes: (R, 4) float32 x1 y1 x2 y2, people in pixels of the clip; only where the
                detector has no proposals of its own.
            key: (R,) int64, which of the key frames each lies in.

        Returns:
            scores (R, classes) in [0, 1]; refined boxes (R, 1, 4), or (R, classes, 4), a box for
            each class, in pixels of the clip; and `key`. Nothing is left out of them yet.
        """
        detector, settings = self.detector, self.detector.settings
        maps = detector.maps(clip[None])
        first = torch.zeros_like(key_frames, dtype=torch.int64)
        if boxes is None or key is None:
            # BatchedProposals gives them of all key frames at once.
            (boxes, key), _ = detector.propose(maps, clip[None], first, key_frames)
            torch._check(boxes.shape[0] > 0)
        features = maps[settings.endpoint]
        grid = detector.grid(settings.endpoint, self.frames)
        logits, deltas = detector.head(
            features, grid, boxes, torch.zeros_like(key), key_frames[key], detector.window
        )
        scores = detector.head.probabilities(logits)
        return scores, decode_boxes(deltas, boxes, (settings.height, settings.width_pixels)), key


class BatchedProposals(nn.Module):
    """torchvision's RPN in evaluation, all key frames at once where it takes one by one.

    Args:
        network: its weights and rules.
    """

    def __init__(self, network: ProposalNetwork) -> None:
        super().__init__()
        self.rpn, self.anchors = network.rpn, network.anchors

    def forward(
        self, maps: Tensor, grid: FeatureGrid, size: tuple[int, int], *_: Any
    ) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """Proposals of K key frames, as `ProposalNetwork.forward`.

        Returns:
            (R, 4) boxes, by key frame, the best first, and the (R,) key frame of each; no losses.
        """
        objectness, deltas = concat_box_prediction_layers(*self.rpn.head([maps]))
        objectness = objectness.reshape(maps.shape[0], -1)
        deltas = deltas.reshape(maps.shape[0], -1, 4)
        self.anchors.shift = (grid.first[2] + 0.5, grid.first[1] + 0.5)
        images = ImageList(maps.new_empty((1, 3, *size)), [size])
        (anchors,) = self.anchors(images, [maps[:1]])
        best = min(self.rpn.pre_nms_top_n(), objectness.shape[1])
        scores, places = objectness.topk(best, dim=1)
        chosen = deltas.gather(1, places[..., None].expand(-1, -1, 4)).reshape(-1, 4)
        boxes = self.rpn.box_coder.decode_single(chosen, anchors[places.reshape(-1)])
        boxes = clip_boxes_to_image(boxes, size)
        # Key frames are told apart by their place on a plane, not on a line: far from 0, float32
        # has too few digits.
        of = torch.arange(maps.shape[0], device=maps.device).repeat_interleave(best)
        corner = torch.stack([of % _ROW, of // _ROW], dim=1) * (max(size) + 1)
        kept = nms(boxes + corner.repeat(1, 2), scores.reshape(-1).sigmoid(), self.rpn.nms_thresh)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= self.rpn.min_size).all(dim=1)
        marked = torch.zeros_like(of).scatter(0, kept, torch.ones_like(kept)) * large
        marked = marked.reshape(-1, best)
        within = marked.cumsum(dim=1) <= self.rpn.post_nms_top_n()
        key, place = ((marked > 0) & within).nonzero().unbind(1)
        return (boxes.reshape(-1, best, 4)[key, place], key), {}


def trace_detector(detector: Detector, frames: int, *, given: bool = False) -> ExportedProgram:
    """The detector as a program of `torch.export`; see `ExportableDetector` for what it takes.

    Args:
        detector: of `load_detector`.
        frames: length of the clip; the shortest is the detector's own.
        given: take boxes from outside in place of the detector's own proposals.

    Raises:
        InputError: `frames` is too small.
    """
    settings = detector.settings
    if frames < settings.frames:
        raise InputError(f"--frames {frames}: this detector needs at least {settings.frames}")
    if given and detector.proposals is not None:
        detector = copy.deepcopy(detector)
        detector.proposals = detector.resnet = None
        detector.settings = replace(settings, proposals="given")
    deployed = ExportableDetector(detector, frames)
    channels = STREAM_CHANNELS[detector.settings.clip_streams]
    size = (frames, settings.height, settings.width_pixels, channels.stop - channels.start)
    inputs: list[Tensor] = [torch.zeros(size, dtype=torch.uint8), torch.full((3,), frames / 2)]
    shapes: list[dict[int, Any] | None] = [None, {0: Dim("key_frames", min=1)}]
    if detector.proposals is None:
        box = [settings.width_pixels * 0.2, 5.0, settings.width_pixels * 0.8, settings.height - 5.0]
        rows = Dim("rows")
        inputs += [torch.tensor([box] * 4), torch.tensor([0, 0, 1, 2])]
        shapes += [{0: rows}, {0: rows}]
    # With gradients on, the trunk takes the plain way through its layers, for any machine.
    with _quiet(), torch.enable_grad():
        return torch.export.export(
            deployed, tuple(inputs), dynamic_shapes=tuple(shapes), strict=False
        )


def export_detector(
    detector: Detector,
    path: Path,
    *,
    frames: int | None = None,
    opset: int = OPSETS[0],
    given: bool = False,
) -> int:
    """Writes a detector for onnxruntime (.onnx) or for `torch.export.load` (.pt2).

    Inputs and outputs are named as in `ExportableDetector.forward`: clip, key_frames, boxes, key;
    scores, refined_boxes and key_of_box. The number of key frames and of boxes is free, all else
    is fixed. The config is in the metadata under `onnx_predictor.METADATA_KEY`, as JSON.

    Args:
        detector: of `load_detector`.
        path: the file, written whole or not at all.
        frames: length of the clip; None takes `ClipGeometry.export_length`.
        opset: one of `OPSETS`, for ONNX.
        given: see `trace_detector`.

    Returns:
        the length of the clip.

    Raises:
        InputError: another ending, an opset that was not tried, onnxscript is missing, or `frames`
            is too small.
    """
    if path.suffix not in (".onnx", ".pt2"):
        raise InputError(f"{path}: the name must end in .onnx or .pt2 (for torch.export)")
    if opset not in OPSETS:
        raise InputError(f"--opset {opset}: must be {OPSETS[0]} to {OPSETS[-1]}")
    if path.suffix == ".onnx":
        _require_onnxscript()
    if frames is None:
        frames = ClipGeometry(detector.settings).export_length()
    program = trace_detector(detector, frames, given=given)
    settings = asdict(detector.settings)
    if given:
        settings["proposals"] = "given"
    metadata = json.dumps({"settings": settings, "clip_frames": frames})
    with atomic_write(path) as temporary:
        if path.suffix == ".pt2":
            with _quiet():
                torch.export.save(program, temporary, extra_files={METADATA_KEY: metadata})
        else:
            _write_onnx(program, temporary, opset, metadata, detector.settings.labels)
    return frames


def _require_onnxscript() -> None:
    from importlib.util import find_spec

    if find_spec("onnxscript") is None:
        raise InputError("writing ONNX needs onnxscript; pip install onnxscript")


def _write_onnx(
    program: ExportedProgram, path: Path, opset: int, metadata: str, labels: Sequence[str]
) -> None:
    inputs = ("clip", "key_frames", "boxes", "key")
    count = len(program.graph_signature.user_inputs)
    with _quiet():
        exported = torch.onnx.export(
            program, (), input_names=inputs[:count],
            output_names=("scores", "refined_boxes", "key_of_box"),
            opset_version=opset, dynamo=True, verbose=False,
        )  # fmt: skip
    assert exported is not None
    exported.model.metadata_props[METADATA_KEY] = metadata
    exported.model.metadata_props["labels"] = "\n".join(labels)
    exported.model.doc_string = " ".join((ExportableDetector.forward.__doc__ or "").split())
    exported.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells of itself: steps, and warnings that users cannot mend."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
