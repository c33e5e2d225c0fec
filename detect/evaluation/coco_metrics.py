"""COCO's AP of detections and AR of proposals, by pycocotools, on the same boxes."""

from __future__ import annotations

import contextlib
import io

from ...datasets.formats.coco import coco_ground_truth, coco_results
from ...datasets.tables import Detections, Tubes

_STATS = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")
_PLACES = (0, 1, 2, 6, 7, 8)


def coco_scores(
    ground_truth: Tubes, detections: Detections, any_class: bool = False
) -> dict[str, float | None]:
    """Average precision and recall as COCO defines them, over IoU 0.5 to 0.95, in percent.

    Args:
        ground_truth, detections: aligned tables.
        any_class: classes do not matter: AR is then the recall of person proposals.

    Returns:
        AP, AP50, AP75, and AR at 1, 10 and 100 detections a frame; None where there is nothing to
        measure.
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
    values = [float(evaluation.stats[place]) for place in _PLACES]
    return {name: 100 * value if value >= 0 else None for name, value in zip(_STATS, values)}
