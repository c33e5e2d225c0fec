"""A loaded model and all it needs to find the action tubes of videos."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ...backbones.classifier import PretrainedModel
from ...datasets.errors import InputError
from ..model.zero_shot import LabelGroups
from ..people.proposals import ProposalSource
from .clip_geometry import Mode
from .detector_tubes import TubeOptions, detector_tubes
from .predictor import Predictor
from .result import Result
from .resumable_run import OpenVideo
from .video_input import VideoInput, VideoLike, open_video, open_video_file
from .video_output import VideoSummary
from .zero_shot_tubes import zero_shot_tubes

Model = TypeVar("Model", bound="VideoModel", covariant=True)
WriteTables = Callable[[Path], VideoSummary]


class VideoModel(Protocol):
    """Finds the action tubes of one video."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its results depend on, by option; see `resumable_run.Identity`."""
        ...

    @property
    def one_tube_per_person(self) -> bool:
        """Whether tubes that overlap are different people."""
        ...

    def open(
        self, video: VideoInput, options: TubeOptions, progress: bool
    ) -> AbstractContextManager[WriteTables]:
        """A context in which a function writes the tables of the video to a folder."""
        ...

    def describe(self, options: TubeOptions) -> dict[str, Any]:
        """Those of the options that its results depend on."""
        ...


@dataclass(frozen=True)
class CheckpointModel:
    """A trained detector; see `detector_tubes`."""

    predictor: Predictor
    source: ProposalSource | None
    identity: Mapping[str, Any]
    one_tube_per_person = False

    def open(
        self, video: VideoInput, options: TubeOptions, progress: bool
    ) -> AbstractContextManager[WriteTables]:
        return detector_tubes(video, self.predictor, self.source, options, progress=progress)

    def describe(self, options: TubeOptions) -> dict[str, Any]:
        values = asdict(options)
        return {"link": values.pop("linker"), **values}


@dataclass(frozen=True)
class ZeroShotModel:
    """A person detector and a classifier of whole videos; see `zero_shot_tubes`."""

    classifier: PretrainedModel
    source: ProposalSource
    labels: LabelGroups
    device: str
    identity: Mapping[str, Any]
    one_tube_per_person = True

    @contextmanager
    def open(
        self, video: VideoInput, options: TubeOptions, progress: bool
    ) -> Iterator[WriteTables]:
        if options != TubeOptions():
            raise InputError(
                "linker, mode and key_frame_step: only work with a trained detector; leave them out"
            )

        def run(folder: Path) -> VideoSummary:
            return zero_shot_tubes(
                video, self.classifier, self.source, self.labels, folder,
                scene_weight=self.identity["scene_weight"], threshold=self.identity["threshold"],
                device=self.device, progress=progress,
            )  # fmt: skip

        yield run

    def describe(self, options: TubeOptions) -> dict[str, Any]:
        return {}


class ActionDetector(Generic[Model]):
    """Finds who does what, where and when in videos; `actiontubes.load` makes it.

    Args:
        model: see `VideoModel`.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(
        self,
        video: VideoLike,
        *,
        fps: float | None = None,
        linker: str | None = None,
        threshold: float | None = None,
        key_frame_step: int = 1,
        mode: Mode = "shared",
    ) -> Result:
        """The action tubes of a video.

        Args:
            video: a file; a folder of frames named from 00001; an array (T, H, W, 3); or an
                iterable of frames (H, W, 3). Frames are uint8 RGB.
            fps: frames per second of arrays, folders and iterables.
            linker: how boxes are linked (see `actiontubes.link`); None is the model's own choice.
            threshold: leaves out tubes with lower scores.
            key_frame_step: run the detector on every so many frames, and interpolate.
            mode: "shared" or "per_clip"; see `clip_geometry.Mode`.

        Raises:
            InputError: the video cannot be read, or an option does not exist for this model.
        """
        opened = open_video(video, fps)
        default = TubeOptions()
        options = TubeOptions(
            linker=linker or default.linker, mode=mode, key_frame_step=key_frame_step
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            self.model.open(opened, options, progress=False) as run,
        ):
            run(Path(folder))
            result = Result.read(Path(folder), opened.frames, self.model.one_tube_per_person)
        return result if threshold is None else result.above(threshold)

    def video_opener(self, options: TubeOptions, *, progress: bool = True) -> OpenVideo:
        """How `process_videos` opens videos."""
        return lambda path, name: self.model.open(open_video_file(path, name), options, progress)

    def identity(self, options: TubeOptions) -> dict[str, Any]:
        """What results depend on besides the video; see `resumable_run.Identity`."""
        return {**self.model.identity, **self.model.describe(options)}
