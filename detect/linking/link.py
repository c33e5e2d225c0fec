"""One function for all linkers."""

from __future__ import annotations

from ...datasets.act_files import Tubelets
from ...datasets.tables import Detections, Tubes, Videos
from .greedy import ACT, GreedyRules, link_greedily
from .viterbi import ViterbiRules, link_viterbi


def link(
    detections: Detections | Tubelets,
    rules: GreedyRules | ViterbiRules = ACT,
    videos: Videos | None = None,
) -> Tubes:
    """Links detections of any number of videos into action tubes.

    Args:
        detections: boxes with class and score; tubelets of several frames for greedy linking.
        rules: whose linking, and its parameters: `ACT`, `MOC`, `SINGH` or `RETINANET` of
            `greedy` (frame by frame, see `GreedyLinker` for boxes that come live), or `PENG`,
            `SAHA` or `YOWO` of `viterbi` (whole videos).
        videos: their lengths, where the rules ask for them.

    Returns:
        tubes by video and class without gaps; no box is in two of them. See `trimming` to cut
        them in time.
    """
    if isinstance(rules, GreedyRules):
        return link_greedily(detections, rules)
    if isinstance(detections, Tubelets):
        detections = detections.as_detections()
    return link_viterbi(detections, rules, videos)
