"""What every linker offers; `registry.LINKERS` lists them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np

from ...datasets.errors import InputError
from ...datasets.options import Options, at_least, between, greater_than
from ...datasets.tables import Detections, Tracks, Tubelets, Tubes

_LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class LinkConfig:
    """What a caller asks of a linker, whichever it is.

    Attributes:
        key_frame_step: frames from one frame with detections to the next.
        num_frames: of the video up to its last key frame, where that is known. Tubes of all of a
            short video are kept, however short.
        overrides: parameters of the linker that differ from its preset, by field name; text is
            converted to the field's type.
    """

    key_frame_step: int = 1
    num_frames: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def min_length(self, usual: int) -> int:
        """A linker's usual number of frames, or that of the video where it has fewer."""
        return usual if self.num_frames is None else min(usual, self.num_frames)


@dataclass(frozen=True, kw_only=True)
class Calibration(Options):
    """What was measured of a detector for the linker of people, as its checkpoint keeps it.

    Attributes:
        change_cost, boundary: see `decoding.decode_stretches`.
        motion: see `box_tracker.TrackingConfig`: how far its boxes are to be believed.
        min_length: tracks of fewer frames are dropped.
        score_scale, score_shift: make the score of a tube the probability that it is right, by its
            log-odds: score_scale x log-odds + score_shift.
    """

    change_cost: Annotated[float, at_least(0)] = 1.0
    boundary: Annotated[float, between(0, 1)] = 0.5
    motion: Annotated[float, greater_than(0)] = 0.03
    min_length: Annotated[int, at_least(0)] = 4
    score_scale: Annotated[float, greater_than(0)] = 1.0
    score_shift: float = 0.0

    def probability(self, score: np.ndarray) -> np.ndarray:
        """The probability that a tube of this score is right."""
        if self.score_scale == 1 and self.score_shift == 0:
            return score
        from scipy.special import expit  # takes long to import, and --help needs none of it

        return expit(self.score_scale * to_log_odds(score) + self.score_shift)

    @classmethod
    def from_json(cls, record: Any, source: Path) -> Calibration:
        """The calibration in a checkpoint.

        Args:
            record: plain JSON, as `dataclasses.asdict` gives it; values that it lacks are usual.
            source: the file, for messages.

        Raises:
            InputError: it is of another version, or damaged.
        """
        usual = asdict(cls())
        try:
            for name, value in record.items():
                if type(value) not in (int, type(usual[name])) or not np.isfinite(value):
                    raise TypeError(f"{name}: {value!r}")
            return cls(**record)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise InputError(
                f"{source}: its calibration was written by another version, or is damaged "
                f"({reason}); train again, or link without it"
            ) from error


def to_log_odds(score: np.ndarray) -> np.ndarray:
    """(N,) scores in 0 to 1 → finite log-odds."""
    inside = np.clip(score, _LEAST_SCORE, 1 - _LEAST_SCORE)
    return np.log(inside / (1 - inside))


@dataclass(frozen=True, eq=False)
class LinkResult:
    """What a linker knows to be final.

    Attributes:
        tubes: with `score` and `tube_score`, without gaps; each tube's rows together, by frame.
        tracks: where the people are, from a linker that tracks people.
        num_dropped: how many tubes were left out since as too short, or of too low a score.
        detection_track: (R,) the track of each detection of this call, from such a linker.
        person_of: by the number of a track that is in `tracks`, its person.
    """

    tubes: Tubes
    tracks: Tracks | None = None
    num_dropped: int = 0
    detection_track: np.ndarray | None = None
    person_of: Mapping[int, int] = field(default_factory=dict)


class Linker(Protocol):
    """Links detections as they come, or those of whole videos in one call."""

    def update(self, detections: Detections | Tubelets) -> LinkResult:
        """Takes all detections of the next frames; returns the tubes that ended since.

        Args:
            detections: of frames after those of earlier calls, with the same names of videos and
                labels. Tubelets are the detections of ACT and MOC; `as_detections` gives the boxes.
        """
        ...

    def finish(self) -> LinkResult:
        """Returns the tubes that `update` has not returned; their numbers are new, too."""
        ...
