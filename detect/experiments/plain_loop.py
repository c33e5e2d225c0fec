"""Frame AP and linking one detection at a time, as the public evaluators do it.

Slow on purpose: the reference of `benchmark evaluation` and of tests. Follows ACT's rules, with a
dictionary of NumPy arrays by frame and a Python loop over the detections.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ...datasets.tables import Detections, Tubes


def plain_frame_ap(ground_truth: Tubes, detections: Detections, threshold: float) -> list[float]:
    """AP of each class in percent, by ACT's rules; NaN without ground truth."""
    result = []
    for label in range(len(ground_truth.label_names)):
        collected = defaultdict(list)
        for row in np.flatnonzero(ground_truth.label == label):
            key = int(ground_truth.video[row]), int(ground_truth.frame[row])
            collected[key].append(ground_truth.boxes[row])
        truth = {key: np.array(boxes) for key, boxes in collected.items()}
        positives = sum(map(len, truth.values()))
        rows = np.flatnonzero(detections.label == label)
        rows = rows[np.argsort(-detections.score[rows])]
        hits, area, precision, recall = 0, 0.0, 1.0, 0.0
        for rank, row in enumerate(rows, 1):
            key = int(detections.video[row]), int(detections.frame[row])
            if key in truth:
                ious = _iou(truth[key], detections.boxes[row])
                best = np.argmax(ious)
                if ious[best] >= threshold:
                    hits += 1
                    truth[key] = np.delete(truth[key], best, 0)
                    if not len(truth[key]):
                        del truth[key]
            last_precision, last_recall = precision, recall
            precision = hits / rank
            recall = hits / positives if positives else 0.0
            area += (recall - last_recall) * (precision + last_precision) / 2
        result.append(100 * area if positives else float("nan"))
    return result


def plain_link(detections: Detections) -> list[tuple[int, int, float, list[int]]]:
    """ACT's linking of single boxes: for each tube its video, label, score and rows."""
    tubes = []
    frames: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in range(len(detections)):
        key = int(detections.video[row]), int(detections.label[row])
        frames[key][int(detections.frame[row])].append(row)
    for (video, label), by_frame in frames.items():
        finished: list[list[int]] = []
        current: list[list[int]] = []
        for frame in range(max(by_frame) + 1):
            boxes = _nms(detections, np.array(by_frame.get(frame, []), np.int64))
            current.sort(key=lambda tube: -np.mean(detections.score[tube]))
            kept = []
            for tube in current:
                ious = _iou(detections.boxes[boxes], detections.boxes[tube[-1]])
                valid = np.flatnonzero(ious >= 0.2)
                if len(valid):
                    best = valid[np.argmax(detections.score[boxes[valid]])]
                    tube.append(int(boxes[best]))
                    boxes = np.delete(boxes, best)
                elif frame - int(detections.frame[tube[-1]]) >= 5:
                    finished.append(tube)
                    continue
                kept.append(tube)
            current = kept + [[int(row)] for row in boxes]
        for tube in finished + current:
            score = float(np.mean(detections.score[tube]))
            length = int(detections.frame[tube[-1]] - detections.frame[tube[0]]) + 1
            if score >= 0.01 and length >= 15:
                tubes.append((video, label, score, tube))
    return tubes


def _nms(detections: Detections, rows: np.ndarray) -> np.ndarray:
    """The ten best rows after non-maximum suppression at IoU 0.3."""
    order = rows[np.argsort(-detections.score[rows])]
    kept: list[int] = []
    while len(order) and len(kept) < 10:
        kept.append(order[0])
        ious = _iou(detections.boxes[order[1:]], detections.boxes[order[0]])
        order = order[1:][ious <= 0.3]
    return np.array(kept, np.int64)


def _iou(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(N,) IoU of (N, 4) boxes with one box (4,), whose corners are pixels of the box."""
    width = np.minimum(boxes[:, 2], box[2]) - np.maximum(boxes[:, 0], box[0]) + 1
    height = np.minimum(boxes[:, 3], box[3]) - np.maximum(boxes[:, 1], box[1]) + 1
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    return overlap / (areas + (box[2] - box[0] + 1) * (box[3] - box[1] + 1) - overlap)
