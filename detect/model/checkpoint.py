"""A trained detector as one .safetensors file: weights, config, sections of JSON, and no code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ...backbones.classifier import PretrainedModel
from ...backbones.family import lists_to_tuples
from ...backbones.flow_input import FLOW_MEAN, FLOW_STD, rgb_weights_to_flow
from ...backbones.registry import Backbone, build_backbone
from ...backbones.weights.convert import check_state
from ...datasets.errors import InputError
from ...datasets.storage.files import atomic_write
from .build import build_detector
from .config import DetectorConfig
from .detector import Detector

CALIBRATION = "calibration"
"""The section for `linking.interface.Calibration`."""
_METADATA_KEY = "actiontubes-detector"
_MAX_METADATA_BYTES = 16 << 20
# Limits for numbers in a file's config that its weights do not confirm.
_MAX_VALUES = {
    "proposal_count": 1 << 16, "proposal_channels": 1 << 14, "hidden": 1 << 16,
    "head_channels": 1 << 14, "roi_size": 64, "box_roi_size": 64, "frames": 1024, "frame_step": 256,
    "size": 4096,
}  # fmt: skip
# Fields of the config as version 0.1 named them.
_OLD_FIELDS = {"own_background": "separate_background", "width": "width_multiplier"}


def save_detector(
    detector: Detector, path: Path, sections: Mapping[str, Any] | None = None
) -> None:
    """Writes a .safetensors file, whole or not at all.

    Args:
        sections: plain JSON by name, such as the calibration of scores, for `load_sections`.

    Raises:
        OSError, SafetensorError: the disk is full.
        ValueError, TypeError: a section that is not JSON, or too long.
    """
    record = {
        "config": asdict(detector.config), "layout": detector.trunk.layout,
        "sections": dict(sections or {}),
    }  # fmt: skip
    if detector.flow_trunk is not None:
        record["flow_layout"] = detector.flow_trunk.layout
    text = json.dumps(record, allow_nan=False)
    if len(text) > _MAX_METADATA_BYTES:
        raise ValueError(f"sections: {len(text):,} bytes, more than {_MAX_METADATA_BYTES:,}")
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in detector.state_dict().items()
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, {_METADATA_KEY: text})


def load_detector(path: Path) -> Detector:
    """The detector of a file, in evaluation mode on the CPU.

    Raises:
        InputError: the file is missing, damaged, or not a detector of this project.
    """
    with _as_input_errors(path):
        record = _read_record(path)
        config = config_from_json(record["config"])
        tensors = load_file(path)
        # First without memory: a config may ask for any amount; the file's tensors exist.
        with torch.device("meta"):
            check_state(build_detector(config, *_build_trunks(config, record)), tensors)
        detector = build_detector(config, *_build_trunks(config, record))
        detector.load_state_dict(tensors, strict=False)
    return detector.eval()


def load_sections(path: Path) -> dict[str, Any]:
    """The sections that `save_detector` wrote into a file: JSON by name, not checked.

    Raises:
        InputError: the file is missing, damaged, or not a detector of this project.
    """
    with _as_input_errors(path):
        return dict(_read_record(path)["sections"])


@contextmanager
def _as_input_errors(path: Path) -> Iterator[None]:
    """A record that is not ours fails in the constructors, each in its own way."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError) and str(path) in str(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"{path}: was written by another version, or is damaged ({reason})"
        ) from error


def _read_record(path: Path) -> dict[str, Any]:
    """The JSON of a file's metadata: config, layout, sections, and flow_layout of two streams."""
    if not path.is_file():
        raise InputError(f"{path}: file not found; `actiontubes train` writes detector.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as a .safetensors file ({reason}); it may be damaged"
        ) from error
    if _METADATA_KEY not in metadata:
        classifier = "actiontubes" in metadata
        what = "a classifier; use it as --weights" if classifier else "other weights"
        raise InputError(f"{path}: is not a trained detector but {what}")
    text = metadata[_METADATA_KEY]
    if len(text) > _MAX_METADATA_BYTES:
        raise ValueError(f"{len(text):,} bytes of metadata")
    record = json.loads(text)
    if "config" not in record:  # version 0.1
        variants = {"layout": "variant", "flow_layout": "flow_variant"}
        record |= {
            new: record[old].get("layout", {}) for new, old in variants.items() if old in record
        }
        record["config"] = record.pop("settings")
    dict(record.setdefault("sections", {}))
    return record


def is_detector(path: Path) -> bool:
    """Whether `save_detector` wrote a file, by its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            return path.suffix.lower() == ".safetensors" and _METADATA_KEY in (
                file.metadata() or {}
            )
    except (SafetensorError, OSError):
        return False


def extract_trunk(detector: Detector, channels_in: int) -> PretrainedModel:
    """A detector's trunk, up to its last endpoint, as first weights of another one.

    Args:
        channels_in: 3 for RGB; 2 for flow, which a detector on RGB alone gives by
            `rgb_weights_to_flow`.

    Raises:
        InputError: RGB of a detector on flow alone.
    """
    config = detector.config
    if channels_in == 2 and config.streams != "rgb":
        trunk = detector.flow_trunk or detector.trunk
        return PretrainedModel(trunk, None, (), mean=FLOW_MEAN, std=FLOW_STD)
    if config.streams == "flow":
        raise InputError(
            "--weights: this detector was trained on optical flow only; give one trained on RGB"
        )
    model = PretrainedModel(detector.trunk, None, (), mean=config.mean, std=config.std)
    return model if channels_in == 3 else rgb_weights_to_flow(model)


def _build_trunks(config: DetectorConfig, record: Mapping[str, Any]) -> list[Backbone]:
    """The trunk, and with two streams that of flow, with new weights in the layout of the file's.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: the record is not of this project.
    """
    build = partial(build_backbone, config.backbone, width_multiplier=config.width_multiplier)
    trunks = [build(channels_in=2 if config.streams == "flow" else 3, layout=record["layout"])]
    if config.streams == "both":
        trunks.append(build(channels_in=2, layout=record["flow_layout"]))
    return trunks


def current_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config, of a file of any version, by their present names."""
    values = {_OLD_FIELDS.get(name, name): value for name, value in record.items()}
    if "width_pixels" in values:
        values["size"] = [values.pop("height"), values.pop("width_pixels")]
    if values.get("proposals") == "given":
        values["proposals"] = "external"
    if "head" in values:  # of a detector; fields that its version did not have
        values.setdefault("mixed_per_box", values["head"] == "mixed")
        values = {field.name: field.default for field in fields(DetectorConfig)} | values
    return values


def config_from_json(record: Mapping[str, Any]) -> DetectorConfig:
    """The config of a checkpoint or an ONNX file; every value has the type of its default.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: the record is not of this project.
    """
    config = DetectorConfig(
        **{name: lists_to_tuples(value) for name, value in current_fields(record).items()}
    )
    if not config.labels:
        raise ValueError("labels: there are no classes")
    for field in fields(config):
        value = getattr(config, field.name)
        default: Any = {"labels": ("",), "box_endpoint": ""}.get(field.name, field.default)
        if value is None and field.default is None:
            continue
        pairs = [(value, default)]
        if isinstance(value, tuple) and isinstance(default, tuple):
            pairs = [(one, default[0]) for one in value]
        for one, like in pairs:
            if type(one) is not type(like) and (type(one), type(like)) != (int, float):
                raise TypeError(f"setting {field.name} has the wrong type: {value!r}")
        if field.name in ("mean", "std", "size") and len(value) != len(default):
            raise ValueError(f"{field.name} has {len(value)} numbers, not {len(default)}")
        limit = _MAX_VALUES.get(field.name)
        if limit and max(value if isinstance(value, tuple) else (value,)) > limit:
            raise ValueError(f"setting {field.name} is {value}, above the limit of {limit}")
    return config
