"""Person detectors in ONNX files as proposal sources, run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....datasets.errors import InputError
from ....datasets.file_options import FileOptions
from ....datasets.video.reader import VideoInfo
from ..onnx_file import (
    input_shape,
    isolated_attempt,
    load_model,
    open_session,
    short_reason,
    with_free_shape,
)
from ..person_boxes import PersonBoxes, clean_boxes
from .family import COARSEST, Family, Outputs, Probe
from .images import PADDING, Size
from .person_class import find_person_class, read_class_names
from .registry import FAMILIES, find_family, format_shape

_USUAL_SIDE = 640  # pixels, of exports that say nothing
_SIZES_INPUT = "orig_target_sizes"  # of RT-DETR and D-FINE: (1, 2) width and height of the boxes
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
Run = Callable[[np.ndarray], Outputs]
"""The network: an input (1, 3, height, width) float32 to its outputs."""


@dataclass(frozen=True)
class Recognized:
    """What is known of a model after it ran once.

    Attributes:
        family: number in `FAMILIES`.
        person: number of the class.
        label: its name; empty where the model gives none.
        size: (height, width) of the export.
        any_size: whether the network takes images of other sizes, too.
    """

    family: int
    person: int
    label: str
    size: Size
    any_size: bool


class OnnxDetector:
    """A person detector in an ONNX file; see `ProposalSource`.

    Args:
        family: of the model.
        run: the network.
        known: what recognition found.
        threshold: the lowest score kept.
    """

    def __init__(self, family: Family, run: Run, known: Recognized, threshold: float) -> None:
        self._family, self._run, self._known, self._threshold = family, run, known, threshold

    @property
    def description(self) -> str:
        """Family, size and class in words."""
        height, width = self._known.size
        label = f" ({self._known.label})" if self._known.label else ""
        sizes = ", and other sizes" if self._known.any_size else ""
        return f"{self._family.name}, {width}x{height}{sizes}, class {self._known.person}{label}"

    def open(self, video: VideoInfo) -> OnnxDetector:
        return self

    def propose(self, frames: np.ndarray, first_frame: int) -> list[PersonBoxes]:
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> PersonBoxes:
        frame_size = (frame.shape[0], frame.shape[1])
        size, family = self._known.size, self._family
        if self._known.any_size and family.fit_size is not None:
            size = family.fit_size(frame_size, size)
        image, placement = family.input.prepare(frame, size)
        boxes, scores = family.decode(self._run(image), size, self._known.person)
        return clean_boxes(placement.to_frame(boxes), scores, frame_size, threshold=self._threshold)


def onnx_source(
    name: str, *, device: str, threshold: float, files: FileOptions | None = None
) -> OnnxDetector:
    """The detector in an ONNX file, of a family in `FAMILIES`.

    Networks of free size run at about the size of the frames where their family does so, since
    small people are lost when a frame is shrunk; the others at the size they were exported for.

    Args:
        name: path of the .onnx file.
        device: ignored; the model runs on the CPU.
        threshold: the lowest score kept.
        files: its person class, where the model's metadata do not name it.

    Raises:
        InputError: the file is damaged, of no known family, or its person class is not known.
    """
    path = Path(name)
    model = load_model(path)
    choice = None if files is None else files.person_class
    known = Recognized(*isolated_attempt(recognize, path, choice))
    family = FAMILIES[known.family]
    run = open_network(with_free_shape(model) if known.any_size else model, path)
    return OnnxDetector(family, run, known, threshold)


def recognize(path: Path, person_class: str | None = None) -> tuple[int, int, str, Size, bool]:
    """The fields of `Recognized`, for `isolated_attempt`.

    Raises:
        InputError: see `onnx_source`.
    """
    model = load_model(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    size, is_free = declared_size(model, metadata, path)
    run, names = open_network(model, path), read_class_names(metadata)
    probe = Probe(size, run(_gray(size)), names, metadata.get("task", ""))
    try:
        family = find_family(probe)
        person = find_person_class(path, names, family.count_classes(probe), person_class)
        boxes, scores = family.decode(probe.outputs, size, person)
        _check_found(family, boxes, scores)
    except InputError as error:
        text = str(error)
        raise InputError(text if str(path) in text else f"{path}: {text}") from error
    if family.fit_size is None:
        is_free = False
    elif family.may_take_any_size:
        is_free = _takes_any_size(model, path, family, size)
    name = names.get(person, "")
    return FAMILIES.index(family), person, "" if name.isdecimal() else name, size, is_free


def declared_size(model: Any, metadata: dict[str, str], path: Path) -> tuple[Size, bool]:
    """(height, width) that the file declares, and whether its input declares no sides.

    Free sides are those of ultralytics' "imgsz" in the metadata, or 640.

    Raises:
        InputError: the model's first input is not one image.
    """
    shape = input_shape(model, path)
    if len(shape) != 4 or shape[1] not in (3, None) or shape[0] not in (1, None):
        raise InputError(
            f"{path}: its input is {format_shape(shape)}; a person detector takes 1x3xHxW, one "
            "RGB image of height H and width W; export it so, with a batch of 1"
        )
    words = metadata.get("imgsz", "").strip("[]() ").split(",")
    sides = [int(word) for word in words if word.strip().isdecimal() and len(word) < 6]
    usual = (sides * 2)[:2] if sides else [_USUAL_SIDE] * 2
    height, width = (side or own for side, own in zip(shape[2:], usual))
    return (height, width), shape[2] is None and shape[3] is None


def open_network(model: Any, path: Path) -> Run:
    """The network as a function of its input.

    Raises:
        InputError: it has other inputs than an image (and the size of the boxes).
    """
    session = open_session(model.SerializeToString(), path)
    inputs = {entry.name: entry for entry in session.get_inputs()}
    image_name = next(iter(inputs))
    others = set(inputs) - {image_name, _SIZES_INPUT}
    dtype = _DTYPES.get(inputs[image_name].type)
    if others or dtype is None:
        kinds = ", ".join(f"{name} {entry.type}" for name, entry in inputs.items())
        raise InputError(
            f"{path}: its inputs are {kinds}; a person detector takes one image of floats"
        )
    names = [entry.name for entry in session.get_outputs()]

    def run(image: np.ndarray) -> Outputs:
        feed = {image_name: image.astype(dtype, copy=False)}
        if _SIZES_INPUT in inputs:
            feed[_SIZES_INPUT] = np.array([image.shape[:1:-1]], np.int64)
        try:
            outputs = session.run(None, feed)
        except Exception as error:  # as in `open_session`
            raise InputError(
                f"{path}: onnxruntime cannot run it ({short_reason(error)}); export it again"
            ) from error
        return {name: np.asarray(each) for name, each in zip(names, outputs)}

    return run


def _takes_any_size(model: Any, path: Path, family: Family, size: Size) -> bool:
    """Whether a network that declares its size runs at another one, too."""
    other = (size[0] + COARSEST, size[1] + 2 * COARSEST)
    try:  # a network that has its size built in fails
        run = open_network(with_free_shape(model), path)
        return family.matches(Probe(other, run(_gray(other)), {}))
    except InputError:
        return False


def _check_found(family: Family, boxes: np.ndarray, scores: np.ndarray) -> None:
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InputError("its scores are not between 0 and 1; export the model with its sigmoids")
    if family.in_pixels and np.nanmax(np.abs(boxes), initial=0) <= 2:
        raise InputError(
            f"it has the outputs of {family.name}, but its boxes are fractions, not pixels of the "
            "input; export it again without normalized boxes"
        )


def _gray(size: Size) -> np.ndarray:
    return np.full((1, 3, *size), PADDING / 255, np.float32)
