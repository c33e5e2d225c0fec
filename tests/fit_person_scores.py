"""Fits the scores of the person detector from PyPI to a reference detector; see docs/people.md.

python tests/fit_person_scores.py ../shared/data/person_detectors/yolox_nano_416.onnx VIDEO ...
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from actiontubes.backbones.weights.cache import fetch
from actiontubes.datasets.video.reader import count_frames, probe, read_video
from actiontubes.detect.boxes.iou import pairwise_iou
from actiontubes.detect.people.person_boxes import clean_boxes
from actiontubes.detect.people.proposals import open_proposal_source
from actiontubes.detect.people.ssdlite_network import detect, load_ssdlite
from scipy.optimize import minimize

FRAMES_PER_VIDEO = 20
SURE, POSSIBLE = 0.5, 0.2
"""Scores of the reference: boxes from `SURE` on are people, those from `POSSIBLE` on may be."""


def frames_of(path: Path) -> Iterator[np.ndarray]:
    count = count_frames(path)
    return islice(read_video(path), 0, None, max(count // FRAMES_PER_VIDEO, 1))


def judge(
    boxes: np.ndarray, people: np.ndarray, possible: np.ndarray
) -> Iterator[tuple[int, bool]]:
    """Index of each box and whether it is a person, matched one to one at IoU 0.5, best first.

    Boxes that only match a possible person are left out.
    """
    to_people, to_possible = pairwise_iou(boxes, people), pairwise_iou(boxes, possible)
    for index in range(len(boxes)):
        if (to_people[index] >= 0.5).any():
            to_people[:, to_people[index].argmax()] = 0
            yield index, True
        elif not (to_possible[index] >= 0.5).any():
            yield index, False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference")
    parser.add_argument("videos", nargs="+", type=Path)
    options = parser.parse_args()
    reference = open_proposal_source(options.reference, threshold=POSSIBLE)
    model = load_ssdlite(fetch("pedestrian-ssdlite"))
    rows = []
    for path in options.videos:
        for frame in frames_of(path):
            (known,) = reference.open(probe(path)).propose(frame[None], 0)
            ((boxes, scores),) = detect(model, frame[None], threshold=0.005)
            found = clean_boxes(boxes, scores, frame.shape[:2])
            sure = known.score >= SURE
            judged = judge(found.boxes, known.boxes[sure], known.boxes[~sure])
            rows += [(found.score[index], is_person) for index, is_person in judged]
    score, person = np.array(rows).T
    logit = np.log(score / (1 - score))

    def loss(parameters: np.ndarray) -> float:
        slope, offset = parameters
        return float(np.logaddexp(0, (1 - 2 * person) * (slope * logit + offset)).mean())

    slope, offset = minimize(loss, [1.0, 0.0]).x
    print(f"{len(score)} boxes, {person.sum():.0f} people: slope {slope:.2f}, offset {offset:.2f}")
    for low, high in ((0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.5), (0.5, 1)):
        inside = (score >= low) & (score < high)
        print(f"{low} to {high}: {inside.sum()} boxes, {person[inside].mean():.3f} are people")


if __name__ == "__main__":
    main()
