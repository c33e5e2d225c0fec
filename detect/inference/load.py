"""Models by name or file: `load` for users, and one function for each kind of model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ...backbones.family import get_variant
from ...backbones.fold_norms import fold_norms
from ...backbones.weights.load import kinetics400_labels, load_pretrained
from ...datasets.errors import InputError, refuse_options
from ...datasets.file_options import FileOptions
from ...datasets.formats.exchange.people import PEOPLE_SUFFIXES
from ...datasets.storage.files import file_digest
from ..linking.interface import Calibration
from ..model.checkpoint import CALIBRATION, load_detector, load_sections
from ..model.zero_shot import select_labels
from ..people.proposals import (
    PersonFunction,
    ProposalSource,
    default_detector,
    open_proposal_source,
)
from .action_detector import ActionDetector, CheckpointDetector, ZeroShotDetector
from .clip_geometry import Mode
from .device import Precision, autocast_dtype, choose_device, choose_precision
from .hub import find_checkpoint, is_hub_name
from .onnx_predictor import load_onnx_predictor, load_onnx_sections
from .predictor import FusedPredictor, Predictor, Proposals, TorchPredictor, compile_trunk
from .tubes.zero_shot_tubes import TUBE_SCORE_THRESHOLD

AnySource = str | ProposalSource | PersonFunction


def load(
    model: str | Path,
    *,
    proposals: AnySource | None = None,
    person_class: str | int | None = None,
    labels: Sequence[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> ActionDetector:
    """A model that finds the action tubes of videos.

    Args:
        model: a checkpoint of `actiontubes train` (.safetensors), an .onnx file of
            `actiontubes export`, a detector on the Hugging Face Hub ("hub:OWNER/NAME", see
            `train --push`), or the name of a backbone such as "i3d": then a person detector finds
            people and Kinetics-400 weights name what they do, without training.
        proposals: where people are: a name as for --proposals, a `ProposalSource`, or a function
            from frames (T, H, W, 3) to T arrays (P, 4) or (P, 5). None uses the model's own
            proposals, or "default" where it has none.
        person_class: of an .onnx file as `proposals`, the name or number of its class person; None
            takes it from the file's metadata, or COCO's order for 80 classes.
        labels: for a backbone, the Kinetics-400 classes to choose from; or one of "ucf101-24" and
            "jhmdb".
        device: "auto", "cpu" or "cuda"; auto uses a GPU if there is one.
        precision: "no" for float32; "bf16" or "fp16" for half precision where it is safe; "auto"
            is "bf16" where the device computes it natively, else "no".

    Raises:
        InputError: the model is unknown, or its file, its weights or the proposals cannot be read.
    """
    device = choose_device(device)
    files = None if person_class is None else FileOptions(person_class=str(person_class))
    is_file = Path(model).suffix.lower() in (".safetensors", ".onnx") or Path(model).is_file()
    if is_file or is_hub_name(model):
        refuse_options("only works with a backbone's name, not with a checkpoint", labels=labels)
        return load_checkpoint(
            Path(model), proposals=proposals, device=device, precision=precision, files=files
        )
    return load_zero_shot(
        str(model), proposals=proposals, labels=labels, device=device, files=files
    )


def load_checkpoint(
    checkpoint: Path,
    *,
    fuse: Path | None = None,
    proposals: AnySource | None = None,
    device: str = "cpu",
    precision: Precision = "auto",
    compile_for: Mode | None = None,
    files: FileOptions | None = None,
) -> CheckpointDetector:
    """A detector that `actiontubes train` or `actiontubes export` wrote.

    Args:
        checkpoint: .safetensors or .onnx, or hub:OWNER/NAME.
        fuse: a second checkpoint; see `FusedPredictor`.
        proposals: see `load`.
        device: where torch or onnxruntime runs it.
        precision: see `load`.
        compile_for: compile the trunk for the clips of this mode.
        files: what a table or an ONNX file of proposals leaves open.

    Raises:
        InputError: see `load`; or options that an ONNX model does not have.
    """
    checkpoint, fuse = find_checkpoint(checkpoint), fuse and find_checkpoint(fuse)
    predictor: Predictor
    chosen = choose_precision(precision, device)
    proposal_kind: Proposals | None = None if proposals is None else "external"
    if checkpoint.suffix.lower() == ".onnx":
        refuse_options(
            "cannot be used with an ONNX model, which runs exactly as it was exported; leave it "
            "out",
            fuse=fuse, precision=None if precision in ("auto", "no") else precision,
            compile=compile_for,
        )  # fmt: skip
        chosen = "no"
        predictor = load_onnx_predictor(checkpoint, device=device)
        if proposals is not None and predictor.proposals == "own":
            raise InputError(
                f"{checkpoint}: this model finds people itself; leave out --proposals, or export "
                "it again with --external-proposals"
            )
    else:
        dtype, parts = autocast_dtype(chosen), []
        for path in (checkpoint, fuse) if fuse else (checkpoint,):
            detector = fold_norms(load_detector(path).to(device), dtype)
            if compile_for:
                compile_trunk(detector, compile_for)
            parts.append(
                TorchPredictor(
                    detector, proposals=proposal_kind, device=device, autocast_dtype=dtype
                )
            )
        predictor = FusedPredictor(*parts) if fuse else parts[0]
    source, source_identity = None, None
    if predictor.proposals == "external":
        source, source_identity = _open_source(proposals or "default", device, files)
    made_from = {
        "checkpoint": _identify(checkpoint), "fuse": fuse and _identify(fuse),
        "proposals": source_identity, "precision": chosen,
        **_table_options(files),
    }  # fmt: skip
    return CheckpointDetector(predictor, source, made_from, load_calibration(checkpoint))


def load_calibration(checkpoint: Path) -> Calibration | None:
    """What training measured for linking; None where it measured nothing.

    Args:
        checkpoint: .safetensors or .onnx.

    Raises:
        InputError: the file is missing, damaged, or not a detector.
    """
    is_onnx = checkpoint.suffix.lower() == ".onnx"
    sections = load_onnx_sections(checkpoint) if is_onnx else load_sections(checkpoint)
    record = sections.get(CALIBRATION)
    return None if record is None else Calibration.from_json(record, checkpoint)


def known_labels(
    checkpoint: Path | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    labels: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """The actions that a model can name; those of Kinetics-400 need no download.

    Args:
        checkpoint: .safetensors or .onnx; None for a model without training.
        backbone, weights, labels: see `load_zero_shot`.

    Raises:
        InputError: see `load`.
    """
    if checkpoint is not None:
        checkpoint = find_checkpoint(checkpoint)
        if checkpoint.suffix.lower() == ".onnx":
            return load_onnx_predictor(checkpoint).config.labels
        return load_detector(checkpoint).config.labels
    classes = kinetics400_labels()
    if weights not in (None, "kinetics400"):
        classes = load_pretrained(get_variant(backbone or "i3d"), weights).labels
    return select_labels(labels, classes).names


def load_zero_shot(
    backbone: str | None = None,
    weights: str | None = None,
    *,
    proposals: AnySource | None = None,
    labels: Sequence[str] | None = None,
    scene_weight: float = 0.5,
    threshold: float = TUBE_SCORE_THRESHOLD,
    device: str = "cpu",
    files: FileOptions | None = None,
) -> ZeroShotDetector:
    """A person detector, and a network trained to classify whole videos; no detector is trained.

    Args:
        backbone: default "i3d".
        weights: default "kinetics400".
        proposals, labels: see `load`.
        scene_weight, threshold: see `zero_shot_tubes`.
        device: where torch runs.
        files: what a table or an ONNX file of proposals leaves open.

    Raises:
        InputError: see `load`; or weights without class names.
    """
    if not 0 <= scene_weight <= 1:
        raise InputError(f"--scene-weight {scene_weight}: must be between 0 and 1")
    backbone, weights = backbone or "i3d", weights or "kinetics400"
    if weights == "kinetics400":
        select_labels(labels, kinetics400_labels())  # a wrong one is said before the download
    model = load_pretrained(get_variant(backbone), weights)
    if model.head is None or not model.labels:
        raise InputError(
            f"--weights {weights}: have no class names, so people cannot be given labels; use "
            "kinetics400"
        )
    model.trunk.to(device)
    model.head.to(device)
    fold_norms(model.trunk)
    groups = select_labels(labels, model.labels)
    source, source_identity = _open_source(proposals or "default", device, files)
    made_from = {
        "backbone": backbone, "weights": _identify(weights), "proposals": source_identity,
        **_table_options(files),
    }  # fmt: skip
    return ZeroShotDetector(
        classifier=model, source=source, labels=groups, scene_weight=scene_weight,
        threshold=threshold, device=device, made_from=made_from,
    )  # fmt: skip


def _open_source(
    proposals: AnySource, device: str, files: FileOptions | None
) -> tuple[ProposalSource, str]:
    """The source, and what identifies its results: a file's digest, or the name."""
    if proposals == "default":
        proposals = default_detector(device)
    source = open_proposal_source(proposals, device=device, files=files)
    return source, _identify(proposals) if isinstance(proposals, str) else repr(proposals)


def _table_options(files: FileOptions | None) -> dict[str, str | int]:
    """What the user says of a file of proposals, by option."""
    files = files or FileOptions()
    options = {
        "first_frame": files.first_frame, "boxes": files.box_unit,
        "person_class": files.person_class,
        "classes": None if files.classes is None else _identify(files.classes),
    }  # fmt: skip
    return {name: value for name, value in options.items() if value is not None}


def _identify(name: str | Path) -> str:
    """The digest of a file, or of the annotation files of a folder; else the name."""
    path = Path(name)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PEOPLE_SUFFIXES)
        digests = [file_digest(file) for file in files if file.is_file()]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return file_digest(path) if path.is_file() else str(name)
