"""The linkers by name, and linking with one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...datasets.checks import check_table
from ...datasets.errors import InputError, choose_from
from ...datasets.tables import Detections, Tubelets, Tubes, Videos
from .assembly import merge_tubes
from .greedy import ACT, MOC, RETINANET, SINGH, make_greedy_linker
from .interface import Calibration, LinkConfig, Linker, LinkResult
from .viterbi import PENG, SAHA, YOWO, make_viterbi_linker

LINKERS: dict[str, Callable[[LinkConfig, Videos | None, Calibration | None], Linker]] = {
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
    **overrides: Any,
) -> Tubes:
    """Links detections of any number of videos into action tubes.

    Args:
        detections: boxes, or tubelets, of any number of videos.
        linker: a key of `LINKERS`, or a linker that has linked nothing yet.
        videos: their lengths, which YOWO's linker needs.
        overrides: parameters of the linker, by field name (see `GreedyConfig`, `ViterbiConfig`).

    Returns:
        tubes numbered from 0 by video, class and start, without gaps, with `score` and
        `tube_score`. No box is in two of them. `trimming` cuts them in time.

    Raises:
        InputError: see `make_linker`; a row breaks a rule of `check_table`.
    """
    return link_all(detections, linker, videos=videos, **overrides).tubes


def link_all(
    detections: Detections | Tubelets,
    linker: str | Linker = "act",
    *,
    videos: Videos | None = None,
    **overrides: Any,
) -> LinkResult:
    """Like `link`; also says how many tubes were left out."""
    if isinstance(detections, Detections):
        check_table(detections, "detections")
    if isinstance(linker, str):
        linker = make_linker(linker, LinkConfig(overrides=overrides), videos)
    elif overrides:
        raise TypeError("parameters go with a linker's name; this linker has its own")
    results = [linker.update(detections), linker.finish()]
    return LinkResult(
        merge_tubes([result.tubes for result in results]),
        num_dropped=sum(result.num_dropped for result in results),
    )
