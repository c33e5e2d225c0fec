"""A trained detector as one file: weights, labels, sizes and settings, and no code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..backbones.inception import Trunk
from ..backbones.weights import tuples, variant_from_json
from ..datasets.files import InputError, whole_file
from .detector import Detector, DetectorSettings, build_detector

_KEY = "actiontubes-detector"
_MOST_CHANNELS = 1 << 16


def save_detector(detector: Detector, path: Path) -> None:
    """Writes a .safetensors file, whole or not at all."""
    record = {"settings": asdict(detector.settings), "variant": asdict(detector.trunk.variant)}
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in detector.state_dict().items()
    }
    with whole_file(path) as temporary:
        save_file(tensors, temporary, {_KEY: json.dumps(record)})


def load_detector(path: Path) -> Detector:
    """The detector of a file, in evaluation mode on the CPU.

    Raises:
        InputError: no such file, damaged, or not a detector of this project.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; actiontubes train writes detector.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable .safetensors file ({error})") from error
    if _KEY not in metadata:
        what = "weights of a classifier; give them as --weights" if metadata else "foreign weights"
        raise InputError(f"{path}: not a trained detector, but {what}")
    try:
        record = json.loads(metadata[_KEY])
        settings = DetectorSettings(**tuples(record["settings"]))
        if not (settings.hidden <= _MOST_CHANNELS and 0 < settings.width <= 8):
            raise ValueError(f"hidden {settings.hidden}, width {settings.width}")
        trunk = Trunk(variant_from_json(record["variant"]), settings.width)
        detector = build_detector(settings, trunk)
        detector.load_state_dict(tensors)
    # Settings that are not ours fail in the constructors, each in its own way.
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"{path}: does not fit this version's detector ({reason})") from error
    return detector.eval()
