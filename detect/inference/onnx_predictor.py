"""A detector that `actiontubes export` wrote, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...datasets.errors import InputError
from ...datasets.storage.text_files import parse_json
from ..model.checkpoint import config_from_json
from ..model.config import DetectorConfig
from ..people.onnx_file import isolated_attempt, open_session, read_metadata, try_loading
from .clip_batches import ClipBatch
from .clip_geometry import MARGIN, ClipGeometry
from .predictor import (
    KeyFramePrediction,
    Proposals,
    default_proposals,
    split_predictions,
)

METADATA_KEY = "actiontubes-detector"
"""Of the metadata: JSON with `settings` (`DetectorConfig`), `clip_frames` and `sections`."""
_MAX_CLIP_FRAMES = 4096


class OnnxPredictor:
    """See `Predictor`.

    The clips of the model have a fixed length. From a longer clip, windows of that length are cut,
    each with as many key frames as have their context in it; a shorter clip is padded with its last
    frame.

    Args:
        session: of onnxruntime.
        config: of the detector that was exported.
        clip_frames: length of the model's clips.
        path: for messages.
    """

    device = "cpu"  # where clips are needed, wherever onnxruntime computes

    def __init__(self, session: Any, config: DetectorConfig, clip_frames: int, path: Path) -> None:
        self.config, self.clip_frames = config, clip_frames
        self.proposals: Proposals = default_proposals(config)
        self.geometry = ClipGeometry(config)
        self._session, self._path = session, path

    def predict(self, batch: ClipBatch) -> list[KeyFramePrediction]:
        predictions: list[KeyFramePrediction] = []
        for clip, rows, start in self._windows(batch):
            predictions += self._predict_window(batch, clip, rows, start)
        return predictions

    def _predict_window(
        self, batch: ClipBatch, clip: int, rows: slice, start: int
    ) -> list[KeyFramePrediction]:
        """Runs the model on the frames of a clip from `start` on, for the key frames `rows`."""
        frames = batch.clips[clip, start : start + self.clip_frames].cpu().numpy()
        if missing := self.clip_frames - len(frames):
            frames = np.concatenate([frames, frames[-1:].repeat(missing, axis=0)])
        positions = (batch.key_frame_positions[rows].double() - start).float()
        inputs = {"clip": frames, "key_frames": positions.cpu().numpy()}
        count = len(positions)
        if self.proposals == "external":
            boxes = batch.person_boxes[rows]
            inputs["boxes"] = torch.cat(list(boxes)).cpu().numpy().astype(np.float32)
            inputs["key"] = np.repeat(np.arange(count), [len(each) for each in boxes])
        if len(inputs.get("boxes", frames)):
            scores, refined, key = map(torch.from_numpy, self._session.run(None, inputs))
        else:  # the model cannot run without a box
            classes = len(self.config.labels)
            scores, key = torch.empty(0, classes), torch.empty(0, dtype=torch.int64)
            refined = torch.empty(0, classes if self.config.per_class_boxes else 1, 4)
        counts = key.bincount(minlength=count).tolist()
        return split_predictions(refined, scores, self.config, counts, batch.frame_numbers[rows])

    def _windows(self, batch: ClipBatch) -> Iterator[tuple[int, slice, int]]:
        """Clip, key frames (a slice of the batch) and first frame of each window."""
        length, stride = batch.clips.shape[1], self.geometry.time_stride
        clip_index = batch.clip_index.tolist()
        positions = batch.key_frame_positions.tolist()
        context = self.config.frames
        spare = self.clip_frames - context
        margin = max(0, min(MARGIN, (spare - stride + 1) // 2))
        before, after = context // 2 + margin, context - context // 2 + margin
        row, stop = 0, len(positions)
        while row < stop:
            first, clip = row, clip_index[row]
            start = int(positions[row]) - before
            if spare >= stride:
                start -= start % stride  # all windows see time in the same phase
            start = max(0, min(start, length - self.clip_frames))
            while (row := row + 1) < stop:
                fits = positions[row] + after <= start + self.clip_frames
                if clip_index[row] != clip or not fits:
                    break
            yield clip, slice(first, row), start


def load_onnx_predictor(path: Path, *, device: str = "cpu") -> OnnxPredictor:
    """Opens a file that `actiontubes export` wrote.

    Args:
        path: the .onnx file.
        device: "cpu" or "cuda".

    Raises:
        InputError: no such file, damaged, another model, weights outside the file, or onnxruntime
            has no support for the device.
    """
    record = _read_record(path)
    try:
        config = config_from_json(record["settings"])
        clip_frames = int(record["clip_frames"])
        if not config.frames <= clip_frames <= _MAX_CLIP_FRAMES:
            raise ValueError(f"clip_frames {clip_frames}")
        ClipGeometry(config)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"{path}: was exported by another version, or is damaged ({reason}); export it again"
        ) from error
    isolated_attempt(try_loading, path)
    threads = torch.get_num_threads()
    session = open_session(path.read_bytes(), path, device=device, threads=threads)
    expected = ["clip", "key_frames"]
    if default_proposals(config) == "external":
        expected += ["boxes", "key"]
    if [entry.name for entry in session.get_inputs()] != expected:
        raise InputError(f"{path}: its inputs are not {', '.join(expected)}; export it again")
    return OnnxPredictor(session, config, clip_frames, path)


def load_onnx_sections(path: Path) -> dict[str, Any]:
    """The sections of the exported checkpoint: JSON by name, not checked.

    Raises:
        InputError: no such file, damaged, or another model.
    """
    record = _read_record(path)
    sections = record.get("sections", {}) if isinstance(record, dict) else {}
    return sections if isinstance(sections, dict) else {}


def _read_record(path: Path) -> Any:
    """The JSON under `METADATA_KEY`."""
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        raise InputError(
            f"{path}: was not written by `actiontubes export`; if it is a person detector, "
            "give it as --proposals"
        )
    return parse_json(metadata[METADATA_KEY], path)
