"""A trained detector that was exported to ONNX, run by onnxruntime in the place of `Detector`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...backbones.fold_norms import fold_norms
from ...datasets.errors import InputError
from ..model.checkpoint import config_from_json, load_detector
from ..model.config import DetectorConfig
from ..model.detector import Detector
from ..model.postprocess import KeyFrameDetections, select_detections
from ..people.onnx_file import read_metadata
from .clip_geometry import MARGIN, TIME_STRIDE

METADATA_KEY = "actiontubes-detector"
"""Of the metadata: JSON with `settings` (`DetectorConfig`) and `clip_frames`."""
_LONGEST = 4096


class OnnxDetector:
    """What `dense.look` needs of a detector: `maps`, `propose` and `find`.

    The file's clip has a fixed length. Of a longer one, windows of that length are looked at, each
    with as many key frames as have their frames around them; a shorter one is filled up with its
    last frame.

    Args:
        session: of onnxruntime.
        settings: of the detector that was exported.
        clip_frames: length of the model's clip.
        path: what messages call it.

    Attributes:
        proposals: the session where it finds people itself, else None.
    """

    def __init__(
        self, session: Any, settings: DetectorConfig, clip_frames: int, path: Path
    ) -> None:
        self.settings, self.clip_frames = settings, clip_frames
        self.proposals = None if settings.proposals == "external" else session
        self._session, self._path = session, path

    def maps(self, clips: Tensor) -> dict[str, Tensor]:
        """(N, T, H, W, C) uint8 clips, kept as they are until the key frames are known."""
        return {"clips": clips}

    def propose(
        self, maps: dict[str, Tensor], clips: Tensor, clip_of: Tensor, key_frames: Tensor
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Nothing: the model's own proposals stay inside it."""
        return [], {}

    def find(
        self,
        maps: dict[str, Tensor],
        length: int,
        proposals: Sequence[Tensor],
        clip_of: Tensor,
        key_frames: Tensor,
        threshold: float = 0.01,
    ) -> KeyFrameDetections:
        """As `Detector.find`; without proposals by those that the model has itself.

        Raises:
            InputError: boxes for a model that finds people itself.
        """
        if self.proposals is not None and len(proposals):
            raise InputError(
                f"{self._path}: this model finds people itself; leave out --proposals, or "
                "export it again with --given"
            )
        parts = []
        for clip, rows, start in self._windows(length, clip_of.tolist(), key_frames.tolist()):
            frames = maps["clips"][clip, start : start + self.clip_frames].cpu().numpy()
            if missing := self.clip_frames - len(frames):
                frames = np.concatenate([frames, frames[-1:].repeat(missing, axis=0)])
            places = (key_frames[rows].double() - start).float()
            inputs = {"clip": frames, "key_frames": places.cpu().numpy()}
            if self.proposals is None:
                boxes = [proposals[row] for row in rows]
                inputs["boxes"] = torch.cat(boxes).cpu().numpy().astype(np.float32)
                inputs["key"] = np.repeat(np.arange(len(rows)), [len(each) for each in boxes])
                if not len(inputs["boxes"]):
                    continue
            scores, refined, key = map(torch.from_numpy, self._session.run(None, inputs))
            parts.append((scores, refined, torch.tensor(rows)[key]))
        if not parts:
            none = torch.empty(0, dtype=torch.int64)
            return KeyFrameDetections(none, none, torch.empty(0), torch.empty(0, 4))
        scores, refined, key = (torch.cat(column) for column in zip(*parts))
        return select_detections(scores, refined, key, threshold=threshold)

    def _windows(
        self, length: int, clip_of: Sequence[int], key_frames: Sequence[float]
    ) -> Iterator[tuple[int, list[int], int]]:
        """The clip, key frames (as rows, which rise in time) and first frame of each run."""
        own = self.settings.frames
        spare = self.clip_frames - own
        margin = max(0, min(MARGIN, (spare - TIME_STRIDE + 1) // 2))
        before, after = own // 2 + margin, own - own // 2 + margin
        row = 0
        while row < len(clip_of):
            clip = clip_of[row]
            start = int(key_frames[row]) - before
            if spare >= TIME_STRIDE:
                start -= start % TIME_STRIDE  # all windows see time in the same phase
            start = max(0, min(start, length - self.clip_frames))
            rows = [row]
            while (row := row + 1) < len(clip_of):
                fits = key_frames[row] + after <= start + self.clip_frames
                if clip_of[row] != clip or not fits:
                    break
                rows.append(row)
            yield clip, rows, start


def open_detector(
    path: Path, *, device: str = "cpu", half: torch.dtype | None = None
) -> Detector | OnnxDetector:
    """A detector's file of either kind, by its ending, ready to look at videos with.

    Args:
        path: .onnx, or what `detector_file.save_detector` wrote.
        device: where it runs.
        half: precision of the trunk's weights; see `dense.look`.

    Raises:
        InputError: as `load_detector` and `load_onnx_detector`; `half` with an .onnx.
    """
    if path.suffix != ".onnx":
        return fold_norms(load_detector(path).to(device), half)
    if half is not None:
        raise InputError(
            f"--precision: cannot be used with an ONNX model ({path}), which runs exactly as it "
            "was exported; leave it out"
        )
    return load_onnx_detector(path, device=device)


def load_onnx_detector(path: Path, *, device: str = "cpu") -> OnnxDetector:
    """Opens what `actiontubes export` wrote.

    Args:
        path: the .onnx file.
        device: "cpu" or "cuda".

    Raises:
        InputError: no such file, damaged, another model, weights outside the file, or onnxruntime
            has no support for the device.
    """
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        raise InputError(
            f"{path}: was not written by `actiontubes export`; if it is a person detector, "
            "give it as --proposals"
        )
    try:
        record = json.loads(metadata[METADATA_KEY])
        settings = config_from_json(record["settings"])
        clip_frames = int(record["clip_frames"])
        if not settings.frames <= clip_frames <= _LONGEST:
            raise ValueError(f"clip_frames {clip_frames}")
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"{path}: was exported by another version, or is damaged ({reason}); export it again"
        ) from error
    session = _session(path, device)
    expected = ["clip", "key_frames"]
    if settings.proposals == "external":
        expected += ["boxes", "key"]
    if [entry.name for entry in session.get_inputs()] != expected:
        raise InputError(f"{path}: its inputs are not {', '.join(expected)}; export it again")
    return OnnxDetector(session, settings, clip_frames, path)


def _session(path: Path, device: str) -> Any:
    import onnxruntime

    provider = "CPUExecutionProvider"
    if device.startswith("cuda"):
        provider = "CUDAExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise InputError(
                "--device cuda: this onnxruntime has no CUDA support; pip install "
                "onnxruntime-gpu, or use --device cpu"
            )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; they come as exceptions too
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=[provider])
    # onnxruntime's own exceptions have no common base but this one.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: onnxruntime cannot load it ({reason})") from error
