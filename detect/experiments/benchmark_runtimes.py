"""Times one detector in PyTorch in two precisions, and in onnxruntime as it is exported."""

from __future__ import annotations

import copy
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from ...backbones.fold_norms import fold_norms
from ...datasets.tables import Detections
from ..inference.clip_batches import ClipBatch
from ..inference.device import autocast_dtype, choose_precision
from ..inference.export import export_detector
from ..inference.onnx_predictor import load_onnx_predictor
from ..inference.predictor import Predictor, TorchPredictor, postprocess
from ..model.detector import Detector
from .timing import median, time_rounds


def benchmark_runtimes(
    detector: Detector, batch: ClipBatch, *, onnx: bool, repeats: int
) -> dict[str, Any]:
    """Key frames a second on a CPU, prediction and NMS, as `detect` runs each.

    Args:
        detector: in evaluation mode.
        batch: a shared clip.
        onnx: also export the detector, which takes a minute, and time onnxruntime.
        repeats: timed rounds.

    Returns:
        precision: what "auto" takes, see `choose_precision`; fps: medians by runtime, "float32",
        "auto" and perhaps "onnxruntime"; times_float32: medians of the ratios within a round.
    """
    chosen = choose_precision("auto", "cpu")
    predictors: dict[str, Predictor] = {}
    for name, precision in (("float32", "no"), ("auto", chosen)):
        dtype = autocast_dtype(precision)  # type: ignore[arg-type]
        folded = fold_norms(copy.deepcopy(detector), dtype)
        predictors[name] = TorchPredictor(folded, autocast_dtype=dtype)
    if onnx:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "detector.onnx"
            export_detector(detector, path)
            predictors["onnxruntime"] = load_onnx_predictor(path)

    def predict(predictor: Predictor) -> Detections:
        return postprocess(predictor.predict(batch), predictor.config)

    runs = {name: partial(predict, predictor) for name, predictor in predictors.items()}
    seconds = time_rounds(runs, repeats, "cpu")
    frames = len(batch.frame_numbers)
    return {
        "precision": chosen,
        "fps": {name: median(frames / each) for name, each in seconds.items()},
        "times_float32": {
            name: median(seconds["float32"] / each) for name, each in seconds.items()
        },
    }


def runtimes_table(result: dict[str, Any]) -> str:
    """The result of `benchmark_runtimes` in one line."""
    names = {"auto": f"precision auto ({result['precision']})"}
    parts = [
        f"{names.get(name, name)} {fps:.1f} ({result['times_float32'][name]:.2f} times float32)"
        for name, fps in result["fps"].items()
    ]
    return f"shared clips as detect runs them, frames/s: {', '.join(parts)}"
