"""A loaded model and all it needs to find the action tubes of videos."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...backbones.classifier import PretrainedModel
from ...datasets.errors import InputError
from ..linking.interface import Calibration
from ..model.zero_shot import LabelGroups
from ..people.proposals import ProposalSource
from ..people.table import TableSource
from .clip_geometry import Mode
from .onnx_predictor import OnnxPredictor
from .predictor import Predictor
from .result import Result
from .tubes.detector_tubes import TubeOptions, detector_tubes
from .tubes.video_output import WriteTables
from .tubes.zero_shot_tubes import zero_shot_tubes
from .video_input import VideoInput, VideoLike, open_video


class ActionDetector(ABC):
    """Finds who does what, where and when in videos; `actiontubes.load` makes it.

    Attributes:
        source: where people are; None where the model finds them itself.
    """

    source: ProposalSource | None

    @abstractmethod
    def open(
        self, video: VideoInput, options: TubeOptions, *, progress: bool = True
    ) -> AbstractContextManager[WriteTables]:
        """A context in which a function writes the tables of the video to a folder.

        Args:
            video: see `open_video`.
            options: see `TubeOptions`.
            progress: show a bar with the time left.

        Raises:
            InputError: an option does not exist for this model.
        """

    @abstractmethod
    def identity(self, options: TubeOptions) -> Mapping[str, Any]:
        """What results depend on besides the video; see `resumable_run.Identity`."""

    def predict(
        self,
        video: VideoLike,
        *,
        fps: float | None = None,
        linker: str | None = None,
        threshold: float | None = None,
        key_frame_step: int = 1,
        proposal_step: int = 1,
        mode: Mode = "shared",
    ) -> Result:
        """The action tubes of a video.

        Args:
            video: a file; a folder of numbered frames; an array (T, H, W, 3); or an
                iterable of frames (H, W, 3). Frames are uint8 RGB.
            fps: frames per second of arrays, folders and iterables.
            linker: how boxes are linked (see `actiontubes.link`); None is "persons".
            threshold: leaves out tubes with lower scores.
            key_frame_step: run the detector on every so many frames, and interpolate.
            proposal_step: find people on every so many key frames, and carry their boxes to those
                between.
            mode: "shared" or "per_clip"; see `clip_geometry.Mode`.

        Raises:
            InputError: the video cannot be read, or an option does not exist for this model.
        """
        opened = open_video(video, fps)
        linker = linker or "persons"
        options = TubeOptions(
            linker=linker, threshold=threshold if linker == "persons" else None, mode=mode,
            key_frame_step=key_frame_step, proposal_step=proposal_step,
        )  # fmt: skip
        with (
            tempfile.TemporaryDirectory() as folder,
            self.open(opened, options, progress=False) as write_tables,
        ):
            write_tables(Path(folder))
            path = opened.info.path
            result = Result.read(
                Path(folder), opened.frames, one_label=linker != "persons",
                media=path if path.is_file() else None,
            )  # fmt: skip
        return result if threshold is None else result.above(threshold)


@dataclass(frozen=True)
class CheckpointDetector(ActionDetector):
    """A trained detector; see `detector_tubes`.

    Attributes:
        predictor: runs it.
        source: where people are, for external proposals.
        made_from: its files and how they run, by option.
        calibration: from its checkpoint.
    """

    predictor: Predictor
    source: ProposalSource | None
    made_from: Mapping[str, Any]
    calibration: Calibration | None = None

    def open(
        self, video: VideoInput, options: TubeOptions, *, progress: bool = True
    ) -> AbstractContextManager[WriteTables]:
        check_proposal_step(options.proposal_step, self.predictor, self.source)
        return detector_tubes(
            video, self.predictor, self.source, options, calibration=self.calibration,
            progress=progress,
        )  # fmt: skip

    def identity(self, options: TubeOptions) -> Mapping[str, Any]:
        values = asdict(options)
        return {**self.made_from, "link": values.pop("linker"), **values}


@dataclass(frozen=True)
class ZeroShotDetector(ActionDetector):
    """A person detector and a classifier of whole videos; see `zero_shot_tubes`.

    Attributes:
        classifier, source, labels, scene_weight, threshold, device: see `zero_shot_tubes`.
        made_from: the classifier and the source, by option.
    """

    classifier: PretrainedModel
    source: ProposalSource
    labels: LabelGroups
    scene_weight: float
    threshold: float
    device: str
    made_from: Mapping[str, Any]

    def open(
        self, video: VideoInput, options: TubeOptions, *, progress: bool = True
    ) -> AbstractContextManager[WriteTables]:
        if replace(options, threshold=None) != TubeOptions():
            raise InputError(
                "linker, mode, key_frame_step and proposal_step: only work with a trained "
                "detector; leave them out"
            )
        return nullcontext(
            partial(
                zero_shot_tubes, video, self.classifier, self.source, self.labels,
                scene_weight=self.scene_weight, device=self.device,
                threshold=self.threshold if options.threshold is None else options.threshold,
                progress=progress,
            )
        )  # fmt: skip

    def identity(self, options: TubeOptions) -> Mapping[str, Any]:
        labels = list(self.labels.names)
        return {
            **self.made_from, "labels": labels, "scene_weight": self.scene_weight,
            "threshold": self.threshold,
        }  # fmt: skip


def check_proposal_step(step: int, predictor: Predictor, source: ProposalSource | None) -> None:
    """Checks that a predictor can find people on some key frames only.

    Raises:
        InputError: `step` is above 1, and the boxes are read from a table, or an exported model
            makes its own.
    """
    if step == 1:
        return
    if isinstance(source, TableSource):
        raise InputError(
            f"--proposal-step {step}: saves no time with a table of person boxes, and would ignore "
            "some of them; leave it out"
        )
    if isinstance(predictor, OnnxPredictor) and predictor.proposals == "own":
        raise InputError(
            f"--proposal-step {step}: this exported model finds people on all key frames; leave "
            "the option out, or export the model again with --external-proposals"
        )
