"""What a user says about files of other people; light, for commands' --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .options import OptionName, Options, at_least

ConversionTarget = Literal["table", "cvat", "mot", "coco", "ava", "act", "yowo"]
"""The formats that `convert` writes."""


@dataclass(frozen=True, kw_only=True)
class FileOptions(Options):
    """What users say about files that can be read in several ways.

    Attributes:
        classes: File with the names of the classes, for files that hold class numbers: one name a
            line in the order of the numbers, CSV of number and name, YAML as YOLO's, JSON, or AVA's
            label map (.pbtxt).
        first_frame: Number of a video's first frame in the files, if it differs from the format's
            own (0 in tables).
        box_unit: Unit of the boxes in the files, pixel or fraction of the frame. Default: by their
            numbers, where these leave no doubt.
        label_attribute: CVAT: the attribute whose value is the action, several between commas, or
            label for the labels themselves. Default: the only attribute of the only label.
        person_class: Name or number of the class person of an ONNX detector given as --proposals.
            Default: by the class names in its metadata, or COCO's order for 80 classes.
    """

    classes: Path | None = None
    first_frame: Annotated[int | None, at_least(0)] = None
    box_unit: Annotated[Literal["pixel", "fraction"] | None, OptionName("boxes")] = None
    label_attribute: str | None = None
    person_class: str | None = None
