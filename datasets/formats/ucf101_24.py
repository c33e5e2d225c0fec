"""UCF101-24: its ground truth files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import load_pickle
from ..tables import TubeRows, Tubes, Videos, tubes_from_rows
from .matlab import load_matlab

CLASSES = (
    "Basketball", "BasketballDunk", "Biking", "CliffDiving", "CricketBowling", "Diving", "Fencing",
    "FloorGymnastics", "GolfSwing", "HorseRiding", "IceDancing", "LongJump", "PoleVault",
    "RopeClimbing", "SalsaSpin", "SkateBoarding", "Skiing", "Skijet", "SoccerJuggling", "Surfing",
    "TennisSwing", "TrampolineJumping", "VolleyballSpiking", "WalkingWithDog",
)  # fmt: skip
WIDTH, HEIGHT = 320, 240
FPS = 25.0


def read_pyannot(
    path: Path, names: list[str] | None = None, content: Any = None
) -> tuple[Tubes, Videos]:
    """Reads pyannot.pkl of gurkirt/corrected-UCF101-Annots.

    Boxes are x, y, width, height there, in 8 or 16 bits; they come out as x1 = x, x2 = x + w,
    coordinates else untouched. `sf` counts from 0, `ef` is exclusive.

    Args:
        path: a dict from "<class>/<video>" to numf, label and annotations.
        names: the videos wanted; None takes all.
        content: what `load_pickle(path)` gives, where it is at hand.

    Raises:
        InputError: not such a file, or a video that is not in it.
    """
    content = load_pickle(path) if content is None else content
    if not is_pyannot(content):
        raise InputError(
            f"{path}: is not pyannot.pkl: it must be a dict from video to annotations, label and "
            "numf"
        )
    chosen = _chosen(content, names, path)
    entries: list[TubeRows] = []
    for video, name in enumerate(chosen):
        for number, tube in enumerate(content[name]["annotations"]):
            start, end = int(tube["sf"]), int(tube["ef"])
            rows = _from_corners(tube["boxes"], start, end - start, f"{path}: {name} tube {number}")
            entries.append((video, _class(int(tube["label"]), name, path), rows, None))
    lengths = [int(content[name]["numf"]) for name in chosen]
    return tubes_from_rows(entries, tuple(chosen), CLASSES), _videos(chosen, lengths)


def load_final_annots(path: Path) -> dict[str, Any]:
    """What stands of each video in finalAnnots.mat of the same repository, by the video's name.

    Raises:
        InputError: not readable, or not of this layout.
    """
    found = load_matlab(path, "annot", squeeze_me=True, struct_as_record=False)
    content = {str(getattr(entry, "name", "")): entry for entry in np.atleast_1d(found)}
    if not all(hasattr(entry, "tubes") for entry in content.values()):
        raise InputError(f"{path}: is not finalAnnots.mat: annot has no name and tubes")
    return content


def read_final_annots(
    path: Path, names: list[str] | None = None, content: dict[str, Any] | None = None
) -> tuple[Tubes, Videos]:
    """Reads finalAnnots.mat, where `sf` counts from 1 and `ef` is inclusive.

    Args and errors as of `read_pyannot`; `content` of `load_final_annots`.
    """
    content = load_final_annots(path) if content is None else content
    chosen = _chosen(content, names, path)
    entries: list[TubeRows] = []
    for video, name in enumerate(chosen):
        for number, tube in enumerate(np.atleast_1d(content[name].tubes)):
            start, end = int(tube.sf) - 1, int(tube.ef)
            boxes = np.asarray(tube.boxes).reshape(-1, 4)
            rows = _from_corners(boxes, start, end - start, f"{path}: {name} tube {number}")
            entries.append((video, _class(int(getattr(tube, "class")) - 1, name, path), rows, None))
    lengths = [int(content[name].num_imgs) for name in chosen]
    return tubes_from_rows(entries, tuple(chosen), CLASSES), _videos(chosen, lengths)


def is_pyannot(content: Any) -> bool:
    """Whether a loaded pickle has the layout of pyannot.pkl."""
    if not isinstance(content, dict) or not content:
        return False
    first = next(iter(content.values()))
    return isinstance(first, dict) and {"annotations", "numf", "label"} <= set(first)


def _chosen(content: dict, names: list[str] | None, path: Path) -> list[str]:
    if names is None:
        return sorted(content)
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(names)} listed videos are missing; the first is "
            f"{missing[0]}"
        )
    return list(dict.fromkeys(names))


def _class(label: int, name: str, path: Path) -> int:
    """The label's place in `CLASSES`, checked against the video's folder."""
    folder = name.split("/", 1)[0]
    if not 0 <= label < len(CLASSES) or CLASSES[label] != folder:
        raise InputError(
            f"{path}: {name}: label {label} does not match the class folder of the video"
        )
    return label


def _from_corners(boxes: np.ndarray, start: int, length: int, source: str) -> np.ndarray:
    """(n, 5) frame, x1, y1, x2, y2 from x, y, width, height of any integer type."""
    boxes = np.asarray(boxes).astype(np.float64)
    if boxes.shape != (length, 4):
        raise InputError(f"{source}: has {boxes.shape[0]} boxes for {length} frames")
    rows = np.empty((length, 5))
    rows[:, 0] = np.arange(start, start + length)
    rows[:, 1:3] = boxes[:, :2]
    rows[:, 3:5] = boxes[:, :2] + boxes[:, 2:]
    return rows


def _videos(names: list[str], lengths: list[int]) -> Videos:
    count = len(names)
    return Videos(
        video=tuple(names),
        num_frames=np.array(lengths, np.int64),
        width=np.full(count, WIDTH),
        height=np.full(count, HEIGHT),
        fps=np.full(count, FPS),
        split=("",) * count,
    )
