"""A trained detector as one file: weights, labels, sizes and settings, and no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...backbones.classifier import PretrainedModel
from ...backbones.family import Variant, WeightLayout, get_variant
from ...backbones.flow_input import FLOW_MEAN, FLOW_STD, rgb_weights_to_flow
from ...backbones.inception import Trunk
from ...backbones.layers import PoolPadding
from ...backbones.torchvision_video import TORCHVISION_NETWORKS
from ...backbones.weights.convert import load_strict
from ...backbones.weights.load import lists_to_tuples, variant_from_json
from ...datasets.errors import InputError
from ...datasets.files import atomic_write
from .build import build_detector
from .config import DetectorConfig
from .detector import Detector

_KEY = "actiontubes-detector"
# Numbers in a file that no weights go with, and that memory would be made for.
_MOST = {
    "proposal_count": 1 << 16, "hidden": 1 << 16, "roi_size": 64, "frames": 1024,
    "frame_step": 256, "size": 4096,
}  # fmt: skip
_MOST_PADDING = 8
# Names of version 0.1 in checkpoints and states of training, and what replaced them.
OLD_NAMES = {"own_background": "separate_background", "width": "width_multiplier"}


def save_detector(
    detector: Detector, path: Path, sections: Mapping[str, Any] | None = None
) -> None:
    """Writes a .safetensors file, whole or not at all.

    Args:
        detector: with its config.
        path: of the file.
        sections: plain JSON by name that is stored as it is; `load_sections` reads it.

    Raises:
        OSError, SafetensorError: the disk is full.
    """
    record: dict[str, Any] = {
        "settings": asdict(detector.settings),
        "variant": asdict(detector.trunk.variant),
    }
    if sections:
        record["sections"] = dict(sections)
    if detector.flow_trunk is not None:
        record["flow_variant"] = asdict(detector.flow_trunk.variant)
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in detector.state_dict().items()
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, {_KEY: json.dumps(record)})


def load_detector(path: Path) -> Detector:
    """The detector of a file, in evaluation mode on the CPU.

    Raises:
        InputError: no such file, damaged, or not a detector of this project.
    """
    if not path.is_file():
        raise InputError(f"{path}: file not found; `actiontubes train` writes detector.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as a .safetensors file ({reason}); it may be damaged"
        ) from error
    if _KEY not in metadata:
        classifier = "actiontubes" in metadata
        what = "a classifier; use it as --weights" if classifier else "other weights"
        raise InputError(f"{path}: is not a trained detector but {what}")
    try:
        record = json.loads(metadata[_KEY])
        settings = config_from_json(record["settings"])
        # First without memory: settings may ask for any amount, the file's tensors are there.
        with torch.device("meta"):
            shapes = build_detector(settings, *_trunks(settings, record)).state_dict()
        for key, value in shapes.items():
            if key in tensors and tensors[key].shape != value.shape:
                found, expected = tuple(tensors[key].shape), tuple(value.shape)
                raise ValueError(f"weights for {key} have shape {found} instead of {expected}")
        detector = build_detector(settings, *_trunks(settings, record))
        load_strict(detector, tensors)
    # Settings that are not ours fail in the constructors, each in its own way.
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"{path}: was written by another version, or is damaged ({reason})"
        ) from error
    return detector.eval()


def load_sections(path: Path) -> dict[str, Any]:
    """The sections that `save_detector` was given for a file; none in files of version 0.1.

    Raises:
        InputError: damaged, or not a detector of this project.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {})[_KEY]).get("sections", {}))
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is not a trained detector, or is damaged ({reason})") from error


def is_detector(path: Path) -> bool:
    """Whether a file is one that `save_detector` wrote, by what it says of itself."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def extract_trunk(detector: Detector, channels_in: int) -> PretrainedModel:
    """A detector's trunk for another one to start from, as far as it goes.

    Args:
        channels_in: 3 for RGB; 2 for flow, which a detector on RGB alone gives by
            `rgb_weights_to_flow`.

    Raises:
        InputError: the detector has flow alone, and RGB is asked for.
    """
    if channels_in == 2 and detector.settings.streams != "rgb":
        trunk = detector.flow_trunk or detector.trunk
        return PretrainedModel(trunk, None, (), FLOW_MEAN, FLOW_STD)
    if detector.settings.streams == "flow":
        raise InputError(
            "--weights: this detector was trained on optical flow only; give one trained on RGB"
        )
    settings = detector.settings
    model = PretrainedModel(detector.trunk, None, (), settings.mean, settings.std)
    return model if channels_in == 3 else rgb_weights_to_flow(model)


def _trunks(settings: DetectorConfig, record: dict[str, Any]) -> list[Trunk]:
    """The trunk, and of two streams that of flow, with new weights; none of torchvision's.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: they are not ours.
    """
    if settings.backbone in TORCHVISION_NETWORKS:
        return []
    channels = {"variant": 2 if settings.streams == "flow" else 3}
    if settings.streams == "both":
        channels["flow_variant"] = 2
    return [
        Trunk(
            _variant(settings.backbone, record[key]),
            settings.width_multiplier,
            channels_in=channels_in,
        )
        for key, channels_in in channels.items()
    ]


def current_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file of any version by their present names."""
    settings = {OLD_NAMES.get(name, name): value for name, value in record.items()}
    if "width_pixels" in settings:
        settings["size"] = [settings.pop("height"), settings.pop("width_pixels")]
    if settings.get("proposals") == "given":
        settings["proposals"] = "external"
    return settings


def config_from_json(record: dict[str, Any]) -> DetectorConfig:
    """The settings, each of the kind of its default.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: they are not ours.
    """
    settings = DetectorConfig(**lists_to_tuples(current_settings(record)))
    for field in fields(settings):
        value = getattr(settings, field.name)
        default = field.default if field.name != "labels" else ("",)
        pairs = [(value, default)]
        if isinstance(value, tuple) and isinstance(default, tuple):
            pairs = [(one, default[0]) for one in value]
        for one, like in pairs:
            if type(one) is not type(like) and (type(one), type(like)) != (int, float):
                raise TypeError(f"setting {field.name} has the wrong type: {value!r}")
        if field.name in ("mean", "std") and len(value) != 3:
            raise ValueError(f"{field.name} has {len(value)} numbers, not 3")
        if field.name == "size" and len(value) != 2:
            raise ValueError(f"size has {len(value)} numbers, not 2")
        most = _MOST.get(field.name)
        if most and max(value if isinstance(value, tuple) else (value,)) > most:
            raise ValueError(f"setting {field.name} is {value}, above the limit of {most}")
    return settings


def _variant(backbone: str, record: dict[str, Any]) -> Variant:
    """The network of that name, in the layout of its weights.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: it is not ours.
    """
    layout: WeightLayout = variant_from_json(record).layout
    padding = () if layout.stem_padding == "same" else chain.from_iterable(layout.stem_padding)
    if not all(0 <= places <= _MOST_PADDING for places in padding):
        raise ValueError(f"stem_padding {layout.stem_padding}")
    if layout.pool_padding not in get_args(PoolPadding):
        raise ValueError(f"pool_padding {layout.pool_padding}")
    if not (0 < layout.norm_eps < 1 and 0 <= layout.norm_momentum <= 1):
        raise ValueError(f"norm_eps {layout.norm_eps}, norm_momentum {layout.norm_momentum}")
    return replace(get_variant(backbone), layout=layout)
