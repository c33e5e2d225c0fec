"""Videos with ground truth to train and test a detector on: the two parts of a split."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError, more_of
from ..file_options import FileOptions
from ..flow import FlowMethod, Streams
from ..flow.cache import read_frames_with_flow
from ..flow.estimate import STREAM_CHANNELS
from ..formats.annotation_format import GroundTruth
from ..formats.exchange.ava_set import in_frames
from ..formats.registry import read_annotations
from ..labels import match_labels, remap_codes
from ..tables import Tubes, select_rows
from ..video.media import locate_videos, read_frames
from ..video_names import ListedName, match_videos, read_video_list
from .ground_truth_checks import (
    annotated_frames,
    check_boxes,
    check_classes,
    in_pixels,
    video_sizes,
)


@dataclass(frozen=True, eq=False)
class DetectionSet:
    """Videos with their ground truth, V videos in all.

    Attributes:
        tubes: the ground truth of these videos; its `video_names` are `names` and its `label_names`
            are `labels`.
        names: of the videos; one without any box is background throughout.
        labels: the classes.
        media: each video's file, or folder of numbered frames.
        num_frames: (V,) int64.
        width, height: (V,) int64, the pixels that boxes refer to; the media may have another size.
        annotated_frames: (F, 2) int64 index into `names` and frame, where only some frames were
            annotated; None for all.
    """

    tubes: Tubes
    names: tuple[str, ...]
    labels: tuple[str, ...]
    media: tuple[Path, ...]
    num_frames: np.ndarray
    width: np.ndarray
    height: np.ndarray
    annotated_frames: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def read_frames(
        self,
        video: int,
        start: int,
        stop: int,
        streams: Streams = "rgb",
        flow_method: FlowMethod = "tvl1",
    ) -> np.ndarray:
        """Frames of one video of the set, (stop - start, h, w, C) uint8.

        Raises:
            InputError: it cannot be read, or has no frame `start`.

        Warns:
            It ends too early; its last frame is repeated.
        """
        path = self.media[video]
        if streams == "rgb":
            frames = list(read_frames(path, start, stop))
        else:
            both = read_frames_with_flow(path, start, stop, flow_method)
            frames = [frame[..., STREAM_CHANNELS[streams]] for frame in both]
        missing = stop - start - len(frames)
        if not frames:
            raise InputError(
                f"{path}: has no frame {start}, although the table of videos says "
                f"{self.num_frames[video]} frames; download the video again, or correct the table"
            )
        if missing:
            warnings.warn(
                f"{path}: ends after {start + len(frames)} of {self.num_frames[video]} frames; "
                "the last frame is repeated",
                stacklevel=2,
            )
        return np.stack(frames + [frames[-1]] * missing)


def select_videos(videos: DetectionSet, rows: Sequence[int]) -> DetectionSet:
    """Some videos of a set.

    Args:
        videos: the set.
        rows: which, by number.
    """
    names = [videos.names[row] for row in rows]
    return DetectionSet(
        tubes=_select_videos(videos.tubes, names), names=tuple(names), labels=videos.labels,
        media=tuple(videos.media[row] for row in rows),
        num_frames=videos.num_frames[rows], width=videos.width[rows], height=videos.height[rows],
        annotated_frames=_renumber(videos.annotated_frames, videos.names, names),
    )  # fmt: skip


def open_detection_sets(
    data: Path,
    *,
    media: Path | None = None,
    split: int = 1,
    train_videos: Sequence[str] | None = None,
    test_videos: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    files: FileOptions | None = None,
) -> tuple[DetectionSet, DetectionSet]:
    """Opens the two parts of a data set, and checks that they fit their videos.

    A part consists of, in this order: the videos named; the split's list; all videos but the other
    part's. If nothing defines a split, every video is in both parts, with a warning. Else no video
    may be in both, unless the same videos are named for both, which is a warning, too.

    Args:
        data: a folder with groundtruth.parquet or .csv, and ideally also videos.* (else each video
            is decoded once to measure it) and splits/train1.txt, test1.txt, as `prepare` writes
            them; a folder with the raw downloads (pyannot.pkl and testlist01.txt, JHMDB-GT.pkl,
            ...) or with CVAT's files; or any one file that `read_ground_truth` reads.
        media: the folder of the videos, searched recursively (default: the data).
        split: counted from 1.
        train_videos, test_videos: names, or one path of a list file; see `match_videos`.
        labels: the classes in the order wanted (default: those of both parts, sorted), compared as
            by `match_labels`.
        files: what the ground truth leaves open.

    Returns:
        The training videos and the test videos.

    Raises:
        InputError: ground truth, a split, a video or its media is missing; a video is in both
            parts, or is not of the size and length that the ground truth says; a box lies outside
            its frame or after its video's end; a class is not in `labels`; no ground truth to train
            on.

    Warns:
        Boxes extend more than 2 pixels beyond the frame, or tubes have gaps.
    """
    truth = read_annotations(data, files, explicit_unit=True)
    if truth.frame_unit == "second":
        truth = in_frames(truth, media)
    train_names, test_names = _split_names(truth, split, train_videos, test_videos)
    names = tuple(dict.fromkeys([*train_names, *test_names]))
    if labels is None:
        present = np.unique(_select_videos(truth.tubes, names).label)
        labels = sorted(truth.tubes.label_names[code] for code in present)
    classes = tuple(labels)
    check_classes(truth, names, classes)
    if not len(_select_videos(truth.tubes, train_names)):
        raise InputError(
            f"{truth.path}: has no boxes for any of the {len(train_names)} training "
            "videos; choose videos with ground truth"
        )
    if train_names is not test_names:
        lists = [
            option if words is not None else f"{part}{split}"
            for part, option, words in (
                ("train", "--train-videos", train_videos), ("test", "--test-videos", test_videos)
            )
        ]  # fmt: skip
        _refuse_shared(truth.path, train_names, test_names, lists)
    paths = _require_media(media or (data if data.is_dir() else data.parent), names)
    sizes = video_sizes(truth, names, paths)
    truth = in_pixels(truth, names, sizes, files)
    check_boxes(truth, dict(zip(names, sizes)))
    annotated = annotated_frames(truth)
    row_of = {name: row for row, name in enumerate(names)}

    def part(chosen: Sequence[str]) -> DetectionSet:
        rows = [row_of[name] for name in chosen]
        tubes = _select_videos(truth.tubes, chosen)
        label = match_labels(tubes.label_names, classes)[tubes.label]
        num_frames, width, height = sizes[rows].T.copy()
        return DetectionSet(
            tubes=replace(tubes, label=label, label_names=classes), names=tuple(chosen),
            labels=classes, media=tuple(paths[row] for row in rows), num_frames=num_frames,
            width=width, height=height,
            annotated_frames=_renumber(annotated, truth.tubes.video_names, chosen),
        )  # fmt: skip

    return part(train_names), part(test_names)


def _split_names(
    truth: GroundTruth,
    split: int,
    train_videos: Sequence[str] | None,
    test_videos: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """The names of the training and of the test videos; one list if they are to be the same."""
    known = list(truth.tubes.video_names)
    if truth.videos is not None:
        known += truth.videos.video
    known += [name for names in truth.splits.values() for name in names]
    # Pickles may hold NumPy's strings, which become plain ones.
    known = list(dict.fromkeys(map(str, known)))
    parts: dict[str, list[str] | None] = {}
    for part, words in (("train", train_videos), ("test", test_videos)):
        listed = truth.splits.get(f"{part}{split}")
        parts[part] = list(dict.fromkeys(map(str, listed))) if listed is not None else None
        if words is not None:
            parts[part] = _named_videos(words, known, truth.path)
    if parts["train"] is None and parts["test"] is None and truth.splits:
        available = ", ".join(sorted(truth.splits))
        raise InputError(
            f"--split {split}: {truth.path} has no such split; its lists are {available}"
        )
    train, test = parts["train"], parts["test"]
    if train is None:
        train = [name for name in known if name not in set(test or ())]
    if test is None:
        test = [name for name in known if name not in set(train)]
    if not train or not test:
        train, test = train or test, test or train
        warnings.warn(
            f"{truth.path}: defines no test videos, so the detector is tested on its "
            "training videos; give --test-videos",
            stacklevel=3,
        )
    elif train_videos is not None and test_videos is not None and set(train) == set(test):
        train = test
        warnings.warn(
            "--train-videos and --test-videos are the same: the detector is tested on its "
            "training videos",
            stacklevel=3,
        )
    return train, test


def _refuse_shared(
    path: Path, train: Sequence[str], test: Sequence[str], lists: Sequence[str]
) -> None:
    """Refuses a video in both the training and the test list."""
    trained = set(train)
    shared = [name for name in test if name in trained]
    if shared:
        raise InputError(
            f"{path}: video {shared[0]}{more_of(len(shared), 'video')} is in both the training "
            f"list {lists[0]} and the test list {lists[1]}; take it out of one of them"
        )


def _named_videos(words: Sequence[str], known: Sequence[str], path: Path) -> list[str]:
    """The known names that the words, or the lines of a single list file, match."""
    listed = [ListedName(word) for word in words]
    if len(words) == 1 and Path(words[0]).is_file():
        listed = read_video_list(Path(words[0]))
    if not listed:
        raise InputError(
            "--train-videos, --test-videos: the list is empty; name at least one video"
        )
    names = match_videos(listed, known)
    exact = set(known)
    for video, name in zip(listed, names):
        if name not in exact:
            raise InputError(
                f"{video.place}video {name} is not in {path}; names look like {known[0]}"
            )
    return list(dict.fromkeys(names))


def _select_videos(tubes: Tubes, names: Sequence[str]) -> Tubes:
    """The tubes of some videos, whose names become `names`; a video may have none."""
    video = remap_codes(tubes.video, tubes.video_names, names)
    selected = select_rows(tubes, video >= 0)
    return replace(selected, video=video[video >= 0], video_names=tuple(names))


def _renumber(
    frames: np.ndarray | None, old: Sequence[str], names: Sequence[str]
) -> np.ndarray | None:
    """Frames of the videos `names` alone, by their numbers there."""
    if frames is None:
        return None
    video = remap_codes(frames[:, 0], old, names)
    return np.stack([video, frames[:, 1]], axis=1)[video >= 0].astype(np.int64)


def _require_media(folder: Path, names: Sequence[str]) -> list[Path]:
    found = locate_videos(folder, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(names)} videos were not found (the first is "
            f"{missing[0]}); give their folder with --media, or choose other --train-videos "
            "and --test-videos"
        )
    return [found[name] for name in names]
