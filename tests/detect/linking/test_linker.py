"""Linkers by name: their parameters, and a new one in one class and one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Detections, Tubelets
from actiontubes.detect.linking.assembly import TubeBoxes, assemble_tubes, no_tubes
from actiontubes.detect.linking.greedy import ACT, GreedyLinker
from actiontubes.detect.linking.interface import LinkConfig, LinkResult
from actiontubes.detect.linking.linker import LINKERS, link, make_linker
from actiontubes.detect.linking.viterbi import PENG, ViterbiLinker


def detections(frames: int = 20) -> Detections:
    zeros = np.zeros(frames, np.int32)
    boxes = np.tile([10.0, 10, 29, 49], (frames, 1))
    return Detections(
        video=zeros,
        frame=np.arange(frames, dtype=np.int32),
        label=zeros,
        score=np.full(frames, 0.5),
        boxes=boxes,
        video_names=("one",),
        label_names=("run",),
    )


class EachBoxByItself:
    """A new linker."""

    def __init__(self, *_: Any) -> None:
        self.count = 0

    def update(self, detections: Detections | Tubelets) -> LinkResult:
        boxes = detections.as_detections() if isinstance(detections, Tubelets) else detections
        number = np.arange(len(boxes)) + self.count
        self.count += len(boxes)
        linked = TubeBoxes(
            frame=boxes.frame,
            tube=number,
            group=boxes.label,
            score=boxes.score,
            boxes=boxes.boxes[:, None],
        )
        return LinkResult(assemble_tubes(linked, boxes.video_names, boxes.label_names))

    def finish(self) -> LinkResult:
        return LinkResult(no_tubes((), ()))


def test_a_new_linker_is_one_class_and_one_line(monkeypatch) -> None:
    monkeypatch.setitem(LINKERS, "each", EachBoxByItself)
    tubes = link(detections(5), "each")
    assert tubes.tube.tolist() == [0, 1, 2, 3, 4]


def test_parameters_by_name() -> None:
    linker = make_linker("act", LinkConfig(overrides={"gap": "3", "top": None, "soft": True}))
    assert isinstance(linker, GreedyLinker)
    assert (linker.config.gap, linker.config.top, linker.config.soft) == (3, None, True)
    assert linker.config.iou == ACT.iou
    # A field's name of version 0.1.
    linker = make_linker("peng", LinkConfig(overrides={"pixels": "continuous", "paths": 1}))
    assert isinstance(linker, ViterbiLinker)
    assert (linker.config.extent, linker.config.paths) == ("continuous", 1)
    assert len(np.unique(link(detections(), "act", min_length=21).tube)) == 0


def test_key_frames_only_change_the_gap_of_greedy_linkers() -> None:
    far = LinkConfig(key_frame_step=8)
    greedy, viterbi = make_linker("act", far), make_linker("viterbi", far)
    assert isinstance(greedy, GreedyLinker) and greedy.config.gap == 16
    assert isinstance(viterbi, ViterbiLinker) and viterbi.config == PENG


@pytest.mark.parametrize(
    ("name", "overrides"), [("act", {"min_length": 21}), ("peng", {"min_score": 0.6, "paths": 2})]
)
def test_left_out_tubes_are_counted(name: str, overrides: dict[str, Any]) -> None:
    linker = make_linker(name, LinkConfig(overrides=overrides))
    results = [linker.update(detections()), linker.finish()]
    assert [len(result.tubes) for result in results] == [0, 0]
    assert sum(result.num_dropped for result in results) == 1


def test_a_whole_short_video_is_long_enough() -> None:
    linker = make_linker("act", LinkConfig(num_frames=7))
    results = [linker.update(detections(7)), linker.finish()]
    assert [len(result.tubes) for result in results] == [0, 7]
    assert make_linker("act", LinkConfig(num_frames=40)).config == ACT  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("actt", {}, r"linker actt: does not exist; choose from persons, .*did you mean act\?"),
        ("act", {"gapp": 3}, r"gapp=3: there is no rule gapp; .*did you mean gap\?"),
        ("act", {"gap": 2.5}, "gap=2.5: must be a whole number"),
        ("act", {"soft": 1}, "soft=1: must be true or false"),
        ("viterbi", {"missing": "copied"}, "missing=copied: copied is not allowed; choose skip"),
    ],
)
def test_what_does_not_exist(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        link(detections(), name, **overrides)
