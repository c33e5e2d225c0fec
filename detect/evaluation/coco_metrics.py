"""COCO's average precision of detections and average recall of proposals, by pycocotools."""

from __future__ import annotations

import contextlib
import io

from ...datasets.formats.coco import coco_ground_truth, coco_results
from ...datasets.tables import Detections, Tubes

# Where COCOeval.stats has each.
_STATS = {"AP": 0, "AP50": 1, "AP75": 2, "AR1": 6, "AR10": 7, "AR100": 8}


def coco_scores(
    ground_truth: Tubes, detections: Detections, any_class: bool = False
) -> dict[str, float | None]:
    """Average precision and recall as COCO defines them, over IoU 0.5 to 0.95, in percent.

    Args:
        ground_truth, detections: aligned tables.
        any_class: ignore the classes; AR is then the recall of person proposals.

    Returns:
        AP, AP50, AP75 and AR1, AR10, AR100 (of 1, 10 and 100 detections a frame) in percent; None
        without ground truth.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = coco_results(detections, ground_truth)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **coco_ground_truth(ground_truth, detections)}
        truth.createIndex()
        if not results:
            return dict.fromkeys(_STATS, 0.0)
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.useCats = 0 if any_class else 1
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = {name: float(evaluation.stats[place]) for name, place in _STATS.items()}
    return {name: 100 * value if value >= 0 else None for name, value in values.items()}
