"""What every linker offers; `registry.LINKERS` lists them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...datasets.tables import Actions, Detections, Tracks, Tubelets, Tubes


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


@dataclass(frozen=True)
class Calibration:
    """What was measured of a detector for its linker, as its checkpoint keeps it.

    Attributes:
        values: plain JSON.
    """

    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LinkResult:
    """What a linker knows to be final.

    Attributes:
        tubes: with `score` and `tube_score`, without gaps; each tube's rows together, by frame.
        tracks: where the people are, from a linker that tracks people.
        actions: what they do, from such a linker.
        num_dropped: how many tubes were left out since as too short, or of too low a score.
    """

    tubes: Tubes
    tracks: Tracks | None = None
    actions: Actions | None = None
    num_dropped: int = 0


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
