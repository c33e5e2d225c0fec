"""The evaluation protocols in use, each a record of its choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..boxes.iou import BoxExtent
from .average_precision import APMethod

DuplicateRule = Literal["next best", "false positive"]
"""What becomes of a detection whose best ground truth is taken.

* "next best": taken ground truth is out of the game; the best of the others may match.
* "false positive": only the best of all counts (PASCAL VOC).
"""


@dataclass(frozen=True)
class Protocol:
    """Every choice that moves a number, so that two numbers can be compared or not.

    Attributes:
        name: printed beside every number.
        frame_pixels, tube_pixels: how wide a box is.
        frame_area, tube_area: what is called AP.
        frame_second_hit, tube_second_hit: what becomes of a second detection of one object.
        frames: whether detections count on all frames or only where some ground truth is.
        tube_above: an overlap equal to the threshold is not enough.
        temporal: whether a tube of frames 3 to 5 is 3 long ("inclusive") or 2 ("exclusive").
        shared_frames: tubes with fewer frames in common have overlap 0.
        tube_suppression: overlap of tube suppression before the tubes are scored; None is none.
        recall_epsilon: added to the number of ground truth tubes.
        left_out: classes of the data set that the protocol's authors do not evaluate.
    """

    name: str
    frame_pixels: BoxExtent = "continuous"
    frame_area: APMethod = "envelope"
    frame_second_hit: DuplicateRule = "false positive"
    frames: Literal["all", "annotated"] = "all"
    tube_pixels: BoxExtent = "continuous"
    tube_area: APMethod = "envelope"
    tube_second_hit: DuplicateRule = "next best"
    tube_above: bool = False
    temporal: Literal["inclusive", "exclusive"] = "inclusive"
    shared_frames: int = 1
    tube_suppression: float | None = None
    recall_epsilon: float = 0.0
    left_out: tuple[str, ...] = ()


# ACT (Kalogeiton et al. 2017) and MOC (Li et al. 2020), src/ACT.py: frameAP, videoAP.
ACT = Protocol(
    "act",
    frame_pixels="inclusive",
    frame_area="trapezoid",
    frame_second_hit="next best",
    tube_pixels="inclusive",
    tube_area="trapezoid",
    tube_suppression=0.3,
)

# MultiSports (Li et al. 2021), evaluate_multisports.py; also mmaction2, HIT, OpenMixer. The six
# classes are those that its code skips for want of instances.
MULTISPORTS = Protocol(
    "multisports",
    tube_second_hit="false positive",
    temporal="exclusive",
    left_out=(
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
    frame_second_hit="next best",
    tube_pixels="shifted",
    tube_above=True,
    shared_frames=2,
)

# YOWO (Köpüklü et al. 2019): Evaluator.py for frames, core/eval_results.py for tubes.
YOWO = Protocol(
    "yowo",
    frame_pixels="inclusive",
    frames="annotated",
    tube_pixels="inclusive",
    shared_frames=2,
    recall_epsilon=1e-5,
)

PROTOCOLS = (ACT, MULTISPORTS, ROAD, YOWO)
