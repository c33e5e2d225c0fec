"""A trained detector as one ONNX file, or as one of `torch.export`: trunk, proposals and head.

The model takes one clip of a fixed length and any number of key frames in it, and returns scores
and refined boxes; thresholds and NMS are left to whoever runs it (`postprocess`).
"""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
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
from ...datasets.flow.estimate import STREAM_CHANNELS
from ...datasets.storage.files import atomic_write
from ..model.detector import Detector
from ..model.postprocess import decode_boxes
from ..model.roi_align import Rois
from ..model.rpn import ProposalNetwork
from .clip_geometry import ClipGeometry
from .onnx_predictor import METADATA_KEY

OPSETS = range(18, 22)
"""ONNX operator sets that were tested with onnxruntime; 18 is PyTorch's default."""
_KEY_FRAMES_PER_ROW = 8  # of the grid that NMS sees all key frames in


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
        """Scores and refined boxes of all proposals.

        Args:
            clip: (T, H, W, C) uint8, of the length and size in the metadata.
            key_frames: (K,) float32, clip frames from 0.
            boxes: (R, 4) float32 x1 y1 x2 y2, person boxes in pixels of the clip; only for a
                detector without its own proposals.
            key: (R,) int64, the key frame of each box, as an index into `key_frames`.

        Returns:
            scores (R, classes) in [0, 1]; refined boxes in pixels of the clip, (R, 1, 4), or
            (R, classes, 4) with a box for each class; and `key`. All proposals are returned.
        """
        detector, config = self.detector, self.detector.config
        features = detector.extract_features(clip[None])
        first_clip = torch.zeros_like(key_frames, dtype=torch.int64)
        if boxes is None or key is None:
            # BatchedProposals returns those of all key frames at once.
            (boxes, key), _ = detector.propose(features, clip[None], first_clip, key_frames)
            torch._check(boxes.shape[0] > 0)
        rois = Rois(boxes, torch.zeros_like(key), key_frames[key])
        logits, deltas = detector.apply_head(features, self.frames, rois)
        scores = detector.head.probabilities(logits)
        return scores, decode_boxes(deltas, boxes, config.size), key


class BatchedProposals(nn.Module):
    """torchvision's RPN in evaluation mode, for all key frames at once instead of one by one.

    Args:
        network: whose weights and limits are used.
    """

    def __init__(self, network: ProposalNetwork) -> None:
        super().__init__()
        self.rpn, self.anchors = network.rpn, network.anchors

    def forward(
        self, maps: Tensor, grid: FeatureGrid, size: tuple[int, int], *_: Any
    ) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """Proposals of K key frames, as `ProposalNetwork.forward`.

        Returns:
            (R, 4) boxes by key frame, best first, and the (R,) key frame of each; no losses.
        """
        head = self.rpn.head
        objectness, deltas = concat_box_prediction_layers(*head([head.convolve(maps)]))
        objectness = objectness.reshape(maps.shape[0], -1)
        deltas = deltas.reshape(maps.shape[0], -1, 4)
        self.anchors.shift = (grid.origin[2] + 0.5, grid.origin[1] + 0.5)
        images = ImageList(maps.new_empty((1, 3, *size)), [size])
        (anchors,) = self.anchors(images, [maps[:1]])
        best = min(self.rpn.pre_nms_top_n(), objectness.shape[1])
        scores, anchor_index = objectness.topk(best, dim=1)
        chosen = deltas.gather(1, anchor_index[..., None].expand(-1, -1, 4)).reshape(-1, 4)
        boxes = self.rpn.box_coder.decode_single(chosen, anchors[anchor_index.reshape(-1)])
        boxes = clip_boxes_to_image(boxes, size)
        # Boxes of different key frames are moved apart, on a grid and not on a line, since far
        # from 0 float32 has too few digits.
        key_of_box = torch.arange(maps.shape[0], device=maps.device).repeat_interleave(best)
        corner = torch.stack(
            [key_of_box % _KEY_FRAMES_PER_ROW, key_of_box // _KEY_FRAMES_PER_ROW], dim=1
        ) * (max(size) + 1)
        kept = nms(boxes + corner.repeat(1, 2), scores.reshape(-1).sigmoid(), self.rpn.nms_thresh)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= self.rpn.min_size).all(dim=1)
        marked = torch.zeros_like(key_of_box).scatter(0, kept, torch.ones_like(kept)) * large
        marked = marked.reshape(-1, best)
        is_within = marked.cumsum(dim=1) <= self.rpn.post_nms_top_n()
        key, rank = ((marked > 0) & is_within).nonzero().unbind(1)
        return (boxes.reshape(-1, best, 4)[key, rank], key), {}


def trace_detector(
    detector: Detector, frames: int, *, external_proposals: bool = False
) -> ExportedProgram:
    """The detector as a program of `torch.export`; see `ExportableDetector` for what it takes.

    Args:
        detector: of `load_detector`.
        frames: length of the clip, at least that of the detector.
        external_proposals: take person boxes as an input in place of the detector's own proposals.

    Raises:
        InputError: `frames` is too small.
    """
    config = detector.config
    if frames < config.frames:
        raise InputError(f"--frames {frames}: this detector needs at least {config.frames}")
    if external_proposals and detector.proposals is not None:
        detector = copy.deepcopy(detector)
        detector.proposals = detector.resnet = None
        detector.config = replace(config, proposals="external")
    exportable = ExportableDetector(detector, frames)
    channels = STREAM_CHANNELS[detector.config.clip_streams]
    size = (frames, config.height, config.width, channels.stop - channels.start)
    inputs: list[Tensor] = [torch.zeros(size, dtype=torch.uint8), torch.full((3,), frames / 2)]
    shapes: list[dict[int, Any] | None] = [None, {0: Dim("key_frames", min=1)}]
    if detector.proposals is None:
        box = [config.width * 0.2, 5.0, config.width * 0.8, config.height - 5.0]
        rows = Dim("rows")
        inputs += [torch.tensor([box] * 4), torch.tensor([0, 0, 1, 2])]
        shapes += [{0: rows}, {0: rows}]
    # With gradients on, the trunk runs its plain layers, which every machine can run.
    with _quiet(), torch.enable_grad():
        return torch.export.export(
            exportable, tuple(inputs), dynamic_shapes=tuple(shapes), strict=False
        )


def export_detector(
    detector: Detector,
    path: Path,
    *,
    frames: int | None = None,
    opset: int = OPSETS[0],
    external_proposals: bool = False,
    sections: Mapping[str, Any] | None = None,
) -> int:
    """Writes a detector for onnxruntime (.onnx) or for `torch.export.load` (.pt2).

    Inputs and outputs are named as in `ExportableDetector.forward`: clip, key_frames, boxes, key;
    scores, refined_boxes and key_of_box. The numbers of key frames and boxes are dynamic, all
    else is fixed. The config is in the metadata under `onnx_predictor.METADATA_KEY`, as JSON.

    Args:
        detector: of `load_detector`.
        path: the file, written whole or not at all.
        frames: length of the clip; None takes that of `detect`.
        opset: one of `OPSETS`, for ONNX.
        external_proposals: see `trace_detector`.
        sections: of the checkpoint, see `save_detector`.

    Returns:
        the length of the clip.

    Raises:
        InputError: another extension, an untested opset, onnxscript is missing, `frames` is too
            small, or torch's exporter failed.
    """
    if path.suffix not in (".onnx", ".pt2"):
        raise InputError(f"{path}: the name must end in .onnx or .pt2 (for torch.export)")
    if opset not in OPSETS:
        raise InputError(f"--opset {opset}: must be {OPSETS[0]} to {OPSETS[-1]}")
    if path.suffix == ".onnx" and importlib.util.find_spec("onnxscript") is None:
        raise InputError("writing ONNX needs onnxscript; pip install onnxscript")
    if frames is None:
        frames = ClipGeometry(detector.config).clip_length()
    with _exporter_errors(path):
        program = trace_detector(detector, frames, external_proposals=external_proposals)
    proposals = "external" if external_proposals else detector.config.proposals
    config = {**asdict(detector.config), "proposals": proposals}
    metadata = json.dumps(
        {"settings": config, "clip_frames": frames, "sections": dict(sections or {})}
    )
    with atomic_write(path) as temporary, _exporter_errors(path):
        if path.suffix == ".pt2":
            with _quiet():
                torch.export.save(program, temporary, extra_files={METADATA_KEY: metadata})
        else:
            _write_onnx(program, temporary, opset, metadata, detector.config.labels)
    return frames


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
def _exporter_errors(path: Path) -> Iterator[None]:
    """Turns an error of torch's exporter, which may have thousands of lines, into one line."""
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise InputError(
            f"{path}: torch's exporter failed ({type(error).__name__}: {lines[0][:200]}); try "
            f"{'.pt2' if path.suffix == '.onnx' else '.onnx'} or another version of torch, and "
            "report it with --debug"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the exporter's progress, and warnings that users can do nothing about."""
    streams = redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), streams[0], streams[1]:
        warnings.simplefilter("ignore")
        yield
