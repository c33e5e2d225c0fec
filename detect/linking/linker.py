"""The linkers by name, and linking with one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...datasets.checks import check_table
from ...datasets.errors import InputError, choose_from
from ...datasets.tables import (
    Detections,
    Tubelets,
    Tubes,
    Videos,
    select_rows,
)
from .assembly import join_parts, merge_results
from .greedy import ACT, MOC, RETINANET, SINGH, make_greedy_linker
from .interface import Calibration, LinkConfig, Linker, LinkResult
from .persons import make_persons_linker
from .viterbi import PENG, SAHA, YOWO, make_viterbi_linker

LINKERS: dict[str, Callable[[LinkConfig, Videos | None, Calibration | None], Linker]] = {
    "persons": make_persons_linker,
    "act": partial(make_greedy_linker, ACT),
    "moc": partial(make_greedy_linker, MOC),
    "online": partial(make_greedy_linker, SINGH),
    "singh": partial(make_greedy_linker, SINGH),
    "3d-retinanet": partial(make_greedy_linker, RETINANET),
    "viterbi": partial(make_viterbi_linker, PENG),
    "peng": partial(make_viterbi_linker, PENG),
    "saha": partial(make_viterbi_linker, SAHA),
    "yowo": partial(make_viterbi_linker, YOWO),
}
"""The linkers that `actiontubes link`, `actiontubes detect` and `actiontubes.link` know."""


def make_linker(
    name: str,
    config: LinkConfig | None = None,
    videos: Videos | None = None,
    calibration: Calibration | None = None,
) -> Linker:
    """A new linker.

    Args:
        name: a key of `LINKERS`.
        config: None is the preset as it is.
        videos: their lengths, which YOWO's linker needs.
        calibration: of the detector, from its checkpoint.

    Raises:
        InputError: no linker or parameter of that name, or not a value of the parameter.
    """
    if name not in LINKERS:
        raise InputError(f"linker {name}: does not exist; {choose_from(name, LINKERS)}")
    return LINKERS[name](config or LinkConfig(), videos, calibration)


def link(
    detections: Detections | Tubelets,
    linker: str | Linker = "act",
    *,
    videos: Videos | None = None,
    cuts: Mapping[str, Sequence[int]] | None = None,
    calibration: Calibration | None = None,
    **overrides: Any,
) -> Tubes:
    """Links detections of any number of videos into action tubes.

    Args:
        detections: boxes, or tubelets, of any number of videos.
        linker: a key of `LINKERS`, or a linker that has linked nothing yet.
        videos: their lengths, which YOWO's linker needs.
        cuts: by the name of a video the first frames of its shots but the first; no tube goes on
            over a cut.
        calibration: of the detector, from its checkpoint; the linker of people uses it.
        overrides: parameters of the linker, by field name (see `PersonsConfig`, `GreedyConfig`,
            `ViterbiConfig`).

    Returns:
        tubes numbered from 0 by video, class and start, without gaps, with `score` and
        `tube_score`; those of people also with `person`, and a person has one for each class that
        has a score. Else no box is in two of them. `trimming` cuts them in time.

    Raises:
        InputError: see `make_linker`; a row breaks a rule of `check_table`.
    """
    return link_all(
        detections, linker, videos=videos, cuts=cuts, calibration=calibration, **overrides
    ).tubes


def link_all(
    detections: Detections | Tubelets,
    linker: str | Linker = "act",
    *,
    videos: Videos | None = None,
    cuts: Mapping[str, Sequence[int]] | None = None,
    calibration: Calibration | None = None,
    **overrides: Any,
) -> LinkResult:
    """Like `link`; also says where people are, and how many tubes were left out."""
    if isinstance(detections, Detections):
        check_table(detections, "detections")
    if isinstance(linker, str):
        linker = make_linker(linker, LinkConfig(overrides=overrides), videos, calibration)
    elif overrides:
        raise TypeError("parameters go with a linker's name; this linker has its own")
    results: list[LinkResult] = []
    count = 0
    for shot in _split_shots(detections, cuts or {}):
        for result in (linker.update(shot), linker.finish()):
            tubes = replace(result.tubes, tube=result.tubes.tube + count)
            results.append(replace(result, tubes=tubes))
        count = max(count, *(int(each.tubes.tube.max(initial=-1)) + 1 for each in results[-2:]))
    merged = merge_results(results)
    return replace(merged, tubes=join_parts(merged.tubes))


def _split_shots(
    detections: Detections | Tubelets, cuts: Mapping[str, Sequence[int]]
) -> list[Detections | Tubelets]:
    """The first shots of all videos, their second shots, and so on.

    Raises:
        InputError: `cuts` names a video that is not there.
    """
    names = detections.video_names
    shot = np.zeros(len(detections.score), np.int64)
    for name, frames in cuts.items():
        if name not in names:
            raise InputError(f"cuts: there is no video {name}; {choose_from(name, names)}")
        rows = np.flatnonzero(detections.video == names.index(name))
        shot[rows] = np.searchsorted(np.sort(frames), detections.frame[rows], "right")
    count = int(shot.max(initial=0)) + 1
    if count == 1:
        return [detections]
    return [select_rows(detections, shot == number) for number in range(count)]
