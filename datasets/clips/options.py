"""Options of clips and their data, without torch: a field is an option of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..errors import InputError
from ..flow import FlowMethod, Streams
from ..options import Options, at_least, between


@dataclass(frozen=True, kw_only=True)
class Augmentation(Options):
    """How much training clips vary.

    Attributes:
        flip: Probability of mirroring a clip.
        scale: Smallest and largest random zoom; below 1 a frame is smaller than the clip, with gray
            around it.
        crop: Whether a zoomed frame is cut at a random place; else in the middle.
        color: Strength of random brightness, contrast and saturation changes, 0 to 1.
    """

    flip: Annotated[float, between(0, 1)] = 0.5
    scale: tuple[float, float] = (0.75, 1.25)
    crop: bool = True
    color: Annotated[float, between(0, 1)] = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(
                f"--scale {' '.join(map(str, self.scale))}: give the smallest and the largest "
                "zoom, greater than 0 and in this order"
            )


@dataclass(frozen=True, kw_only=True)
class ClipConfig(Options):
    """The shape of a detector's training clip.

    Attributes:
        frames: Frames around one key frame, which has the index `frames // 2` among them.
        size: Height and width in pixels; the whole frame is stretched to them.
        key_frames: Key frames in a clip.
        key_frame_step: Distance between key frames, in frames of the clip.
        margin: Frames of the clip before the first key frame's context and after the last one's. A
            network that sees farther than the context then sees no end of the clip there, as in
            detection on long clips.
        frame_step: Frames of the video from one frame of the clip to the next.
        streams: RGB (C = 3), optical flow (C = 2), or both (C = 5, RGB first); flow points to the
            video's next frame.
        flow_method: How flow is computed where no cache lies beside the video.
    """

    frames: Annotated[int, at_least(1)] = 20
    size: Annotated[tuple[int, int], at_least(1)] = (320, 400)
    key_frames: Annotated[int, at_least(1)] = 1
    key_frame_step: Annotated[int, at_least(1)] = 4
    margin: Annotated[int, at_least(0)] = 0
    frame_step: Annotated[int, at_least(1)] = 1
    streams: Streams = "rgb"
    flow_method: FlowMethod = "tvl1"

    @property
    def length(self) -> int:
        """Frames of a clip: each key frame has its whole context."""
        return self.frames + (self.key_frames - 1) * self.key_frame_step + 2 * self.margin

    @property
    def key_frame_positions(self) -> list[int]:
        """Indices of the key frames in the clip."""
        first = self.margin + self.frames // 2
        return [first + i * self.key_frame_step for i in range(self.key_frames)]


@dataclass(frozen=True, kw_only=True)
class ClipSampling(Options):
    """Which clips a detector is trained on.

    Attributes:
        balance: Whether rare classes are drawn more often than they occur. With --no-balance,
            classes are sampled as often as they occur.
        background: Fraction of clips sampled at any time of any video, with or without an action.
        cache: Keep decoded videos in memory (for small data sets).
    """

    balance: bool = True
    background: Annotated[float, between(0, 1)] = 0.1
    cache: bool = False


@dataclass(frozen=True, kw_only=True)
class CropConfig(Options):
    """How clips are cut out of whole videos to train a classifier.

    Attributes:
        frames: Consecutive frames of a clip; shorter videos are repeated.
        size: Side of the square crop in pixels; the crop covers 7/8 of the video's short side (224
            of 256 in the paper).
        flip: Probability of mirroring a clip; never applied to classes that name left or right.
        color: Strength of random brightness, contrast and saturation changes, 0 to 1.
    """

    frames: Annotated[int, at_least(1)] = 64
    size: Annotated[int, at_least(1)] = 224
    flip: Annotated[float, between(0, 1)] = 0.5
    color: Annotated[float, between(0, 1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class ActorClipConfig(Options):
    """How clips are cut out around actors.

    Attributes:
        frames: Frames of a clip; the middle one has the index `frames // 2`. With an odd number a
            reversed clip consists of the very same frames, also where a network takes every other
            one.
        frame_step: Frames of the video from one frame of the clip to the next.
        size: Height and width of the clip in pixels.
        context: How many times as wide and as high as the tube's largest box the window is, at
            least; the wider or the higher of the two decides.
        jitter: Largest random shift of the window in training, as a share of the clip's size.
        flip: Probability of mirroring a clip in training; never applied to `left_right_labels`.
        stream: RGB (C = 3) or optical flow (C = 2).
        flow_method: How flow is computed where no cache lies beside a video.
    """

    frames: Annotated[int, at_least(1)] = 9
    frame_step: Annotated[int, at_least(1)] = 2
    size: Annotated[tuple[int, int], at_least(1)] = (80, 64)
    context: Annotated[float, at_least(1)] = 1.25
    jitter: Annotated[float, between(0, 1)] = 0.08
    flip: Annotated[float, between(0, 1)] = 0.5
    stream: Literal["rgb", "flow"] = "rgb"
    flow_method: FlowMethod = "tvl1"


@dataclass(frozen=True, kw_only=True)
class DetectionData:
    """A data set to train and test a detector on.

    Attributes:
        data: A folder with groundtruth.parquet (or .csv) and videos.parquet, as written by
            `actiontubes prepare`; a folder with the official downloads; or a ground truth file.
        media: Folder with the videos or their frames. Default: the folder of --data.
        splits: Train and test on each of these splits in turn and print the mean. Default: 1.
        train_videos: Names of the training videos, or a file that lists them. Default: those of the
            split.
        test_videos: Names of the test videos, or a file that lists them. Default: those of the
            split.
        labels: The classes in the order of the outputs, or a file that lists them. Default: those
            of the data, sorted.
        calibration_videos: Most training videos that are not trained on but used to calibrate how
            boxes are linked, and the scores of tubes; never more than a tenth of them, and none
            that is the last of its class. 0 trains on all.
        train_on_calibration_videos: Train on the calibration videos, too. Boxes and scores are
            better there than in unseen videos, so it suits a network that sees each video only a
            few times.
        calibration_folds: Where no video can be held out, the calibration is cross-fitted: for each
            of so many parts of the training videos a detector is trained on the others, in a third
            of the steps, and detects in that part. 0 leaves calibration out.
    """

    data: Path
    media: Path | None = None
    splits: tuple[int, ...] | None = None
    train_videos: tuple[str, ...] | None = None
    test_videos: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    calibration_videos: Annotated[int, at_least(0)] = 32
    train_on_calibration_videos: bool = False
    calibration_folds: Annotated[int, at_least(0)] = 3


@dataclass(frozen=True, kw_only=True)
class ClassificationData:
    """A data set to train and test a classifier on.

    Attributes:
        data: A folder of class folders (CLASS/VIDEO, optionally below train/ and val/), a list, or
            a folder of lists: Kinetics' CSV files, the official splits of UCF101 and HMDB51,
            Something-Something v1 CSV or v2 JSON, or lines with a path and a label.
        media: Folder with the videos or their frames. Default: the folder of --data.
        test_data: A separate list or folder to test on.
        splits: Train and test on each of these splits in turn and print the mean (UCF101 and HMDB51
            have three). Default: 1.
        labels: The classes in the order of the outputs, or a file that lists them. Default: the
            data set's order. Numeric labels count from 0.
        allow_missing: Continue even if more than half of the videos are missing.
    """

    data: Path
    media: Path | None = None
    test_data: Path | None = None
    splits: tuple[int, ...] | None = None
    labels: tuple[str, ...] | None = None
    allow_missing: bool = False
