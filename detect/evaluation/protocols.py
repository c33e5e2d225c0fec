"""The evaluation protocols in use, each a record of its choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ...datasets.errors import InputError, choose_from
from ...datasets.options import Options, at_least, between
from ..boxes.iou import BoxExtent
from .average_precision import APMethod

DuplicateRule = Literal["next best", "false positive"]
"""How a detection counts whose best ground truth has already been matched.

* "next best": it may match the best of the ground truth that is left.
* "false positive": it is one (PASCAL VOC).
"""


@dataclass(frozen=True)
class Protocol(Options):
    """Every choice that changes a number, so that it is known which numbers can be compared.

    Attributes:
        name: printed with every number.
        frame_extent, tube_extent: how wide a box is, in frame-mAP and in video-mAP.
        frame_ap_method, tube_ap_method: the area that is called AP.
        frame_duplicates, tube_duplicates: how second detections of one object count.
        frames: whether detections count on all frames, or only on those with ground truth.
        strict_tube_iou: whether a tube's IoU must be above the threshold; an equal one counts
            otherwise.
        temporal: whether a tube on frames 3 to 5 is 3 long ("inclusive") or 2 ("exclusive").
        shared_frames: least number of frames in common; tubes with fewer have IoU 0.
        tube_suppression: IoU of the non-maximum suppression of tubes before they are scored; None
            for none.
        recall_epsilon: added to the number of ground truth tubes.
        detections_per_frame: the best detections of a frame, of all classes, that count; None for
            all.
        ignored_classes: classes of the data set that the protocol's authors do not evaluate.
    """

    name: str
    frame_extent: BoxExtent = "continuous"
    frame_ap_method: APMethod = "envelope"
    frame_duplicates: DuplicateRule = "false positive"
    frames: Literal["all", "annotated"] = "all"
    tube_extent: BoxExtent = "continuous"
    tube_ap_method: APMethod = "envelope"
    tube_duplicates: DuplicateRule = "next best"
    strict_tube_iou: bool = False
    temporal: Literal["inclusive", "exclusive"] = "inclusive"
    shared_frames: Annotated[int, at_least(0)] = 1
    tube_suppression: Annotated[float | None, between(0, 1)] = None
    recall_epsilon: Annotated[float, between(0, 1)] = 0.0
    detections_per_frame: Annotated[int | None, at_least(1)] = None
    ignored_classes: tuple[str, ...] = ()


# ACT (Kalogeiton et al. 2017) and MOC (Li et al. 2020), src/ACT.py: frameAP, videoAP.
ACT = Protocol(
    "act",
    frame_extent="inclusive",
    frame_ap_method="trapezoid",
    frame_duplicates="next best",
    tube_extent="inclusive",
    tube_ap_method="trapezoid",
    tube_suppression=0.3,
)

# MultiSports (Li et al. 2021), evaluate_multisports.py; also mmaction2, HIT, OpenMixer. The six
# classes are those that its code skips because they have too few instances.
MULTISPORTS = Protocol(
    "multisports",
    tube_duplicates="false positive",
    temporal="exclusive",
    ignored_classes=(
        "aerobic kick jump",
        "aerobic off axis jump",
        "aerobic butterfly jump",
        "aerobic balance turn",
        "basketball save",
        "basketball jump ball",
    ),
)

# Singh et al. 2017: utils/evaluation.py for frames, get_PR_curve.m for tubes.
ROAD = Protocol(
    "road",
    frame_duplicates="next best",
    tube_extent="shifted",
    strict_tube_iou=True,
    shared_frames=2,
)

# YOWO (Köpüklü et al. 2019): Evaluator.py for frames, core/eval_results.py for tubes.
YOWO = Protocol(
    "yowo",
    frame_extent="inclusive",
    frames="annotated",
    tube_extent="inclusive",
    shared_frames=2,
    recall_epsilon=1e-5,
)

# AVA (Gu et al. 2018): get_ava_performance.py with PASCAL VOC's evaluator. The classes that count
# are those of the label map (--classes).
AVA = Protocol("ava", frames="annotated", tube_duplicates="false positive", detections_per_frame=50)

PROTOCOLS = (ACT, MULTISPORTS, ROAD, YOWO)
"""Those that `all` prints side by side."""
_KNOWN = (*PROTOCOLS, AVA)
"""A new protocol is one record, and its name here."""


def get_protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        InputError: there is none.
    """
    by_name = {each.name: each for each in _KNOWN}
    if name not in by_name:
        raise InputError(f"protocol {name}: does not exist; {choose_from(name, by_name)}")
    return by_name[name]
