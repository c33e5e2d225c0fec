"""What a detector trains and is tested on: ground truth and videos of the two parts of a split."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError, more_rows
from ..flow.cache import read_frames_with_flow
from ..flow.estimate import STREAM_CHANNELS, FlowMethod, Streams
from ..formats.annotation_format import GroundTruth
from ..formats.registry import read_annotations
from ..labels import remap_codes
from ..tables import Tubes, Videos, select_rows
from ..video.media import locate_videos, measure_video, read_frames
from ..video_names import ListedName, match_videos, read_video_list

# Boxes that reach farther over the picture's edge than this are told of.
_SLACK = 2.0


@dataclass(frozen=True, eq=False)
class DetectionSet:
    """Videos with their ground truth, V videos in all.

    Attributes:
        tubes: the ground truth of these videos as the file gives it; its `unique_names` are `names`
            and its `label_names` are `labels`.
        names: of the videos; one without any box is background from end to end.
        labels: the classes.
        media: each video's file, or folder of numbered frames.
        num_frames: (V,) int64.
        width, height: (V,) int64, the pixels which the boxes mean; the media may have another size.
    """

    tubes: Tubes
    names: tuple[str, ...]
    labels: tuple[str, ...]
    media: tuple[Path, ...]
    num_frames: np.ndarray
    width: np.ndarray
    height: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


def open_detection_sets(
    data: Path,
    *,
    media: Path | None = None,
    split: int = 1,
    train_videos: list[str] | None = None,
    test_videos: list[str] | None = None,
    labels: list[str] | None = None,
) -> tuple[DetectionSet, DetectionSet]:
    """Opens the two parts of a data set, and checks that they fit their videos.

    A part is, in this order: the videos named; the split's list; all videos but the other part's;
    with nothing at all that says a split, every video stands in both parts, and a warning says so.

    Args:
        data: a folder with groundtruth.parquet or .csv, and best also videos.* (else each video is
            decoded once to measure it) and splits/train1.txt, test1.txt, as `prepare` writes them;
            a folder with the raw downloads (pyannot.pkl and testlist01.txt, JHMDB-GT.pkl, ...); or
            any one file that `read_ground_truth` takes, but AVA's.
        media: the folder of the videos, searched with all that is below it (default: the data).
        split: which split, from 1.
        train_videos, test_videos: names, or one word that is the path of a list file; both as
            `match_videos` takes them.
        labels: the classes in the order wanted (default: those of both parts, sorted).

    Returns:
        the videos to train on and those to test on.

    Raises:
        InputError: ground truth, a split, a video or its media is missing; a box lies outside its
            picture or after its video's end; a class is not in `labels`; no ground truth to train
            on.

    Warns:
        boxes reach more than 2 pixels over the picture's edge, or tubes have gaps.
    """
    annotations = read_annotations(data)
    if annotations.frame_unit == "second":
        raise InputError(
            f"{data}: AVA's CSV gives seconds and relative boxes, which training cannot use; "
            "convert it to a table with frames and pixels"
        )
    train_names, test_names = _parts(annotations, split, train_videos, test_videos)
    names = tuple(dict.fromkeys([*train_names, *test_names]))
    classes = tuple(labels) if labels is not None else _classes(annotations.tubes, names)
    _check_classes(annotations, names, classes)
    if not len(_of_videos(annotations.tubes, tuple(train_names))):
        raise InputError(
            f"{annotations.path}: has no boxes for any of the {len(train_names)} training "
            "videos; choose videos with ground truth"
        )
    folder = media or (data if data.is_dir() else data.parent)
    paths = _require_media(folder, names)
    sizes = _sizes(annotations.videos, names, paths)
    _check_boxes(annotations, dict(zip(names, sizes)))
    _warn_of_gaps(annotations.tubes)

    place = {name: i for i, name in enumerate(names)}

    def part(chosen: list[str]) -> DetectionSet:
        rows = [place[name] for name in chosen]
        return DetectionSet(
            _with_labels(_of_videos(annotations.tubes, tuple(chosen)), classes),
            tuple(chosen),
            classes,
            tuple(paths[i] for i in rows),
            *sizes[rows].T.copy(),
        )

    return part(train_names), part(test_names)


def _parts(
    annotations: GroundTruth,
    split: int,
    train_videos: list[str] | None,
    test_videos: list[str] | None,
) -> tuple[list[str], list[str]]:
    """The names of the videos to train on, and of those to test on."""
    known = list(annotations.tubes.video_names)
    if annotations.videos is not None:
        known += annotations.videos.video
    known += [name for names in annotations.splits.values() for name in names]
    # NumPy's strings, of some pickles, become plain ones.
    known = list(dict.fromkeys(map(str, known)))
    parts: dict[str, list[str] | None] = {}
    for part, words in (("train", train_videos), ("test", test_videos)):
        listed = annotations.splits.get(f"{part}{split}")
        parts[part] = list(dict.fromkeys(map(str, listed))) if listed is not None else None
        if words is not None:
            parts[part] = _named(words, known, annotations.path)
    if parts["train"] is None and parts["test"] is None and annotations.splits:
        there = ", ".join(sorted(annotations.splits))
        raise InputError(
            f"--split {split}: {annotations.path} has no such split; its lists are {there}"
        )
    train, test = parts["train"], parts["test"]
    if train is None:
        train = [name for name in known if name not in set(test or ())]
    if test is None:
        test = [name for name in known if name not in set(train)]
    if not train or not test:
        train, test = train or test, test or train
        warnings.warn(
            f"{annotations.path}: defines no test videos, so the detector is tested on its "
            "training videos; give --test-videos",
            stacklevel=3,
        )
    return train, test


def _named(words: list[str], known: Sequence[str], path: Path) -> list[str]:
    """The known names that the words, or the one list file, mean."""
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


def _of_videos(tubes: Tubes, names: tuple[str, ...]) -> Tubes:
    """The tubes of some videos, whose names become `names`; some may be without any."""
    video = remap_codes(tubes.video, tubes.video_names, names)
    kept = select_rows(tubes, video >= 0)
    return replace(kept, video=video[video >= 0], video_names=names)


def _with_labels(tubes: Tubes, labels: tuple[str, ...]) -> Tubes:
    return replace(
        tubes, label=remap_codes(tubes.label, tubes.label_names, labels), label_names=labels
    )


def _classes(tubes: Tubes, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(tubes.label_names[i] for i in np.unique(_of_videos(tubes, names).label)))


def _check_classes(annotations: GroundTruth, names: Sequence[str], labels: Sequence[str]) -> None:
    repeated = [name for i, name in enumerate(labels) if name in labels[:i]]
    if repeated:
        raise InputError(f"--labels: {repeated[0]} is given twice; give each class once")
    tubes = annotations.tubes
    chosen = remap_codes(tubes.video, tubes.video_names, names) >= 0
    other = chosen & (remap_codes(tubes.label, tubes.label_names, labels) < 0)
    _refuse(
        annotations,
        other,
        lambda row: (
            f"class {tubes.label_names[tubes.label[row]]} is not one of --labels "
            f"({', '.join(labels)}); add it there, or remove its rows"
        ),
    )


def _refuse(annotations: GroundTruth, bad: np.ndarray, why: Callable[[int], str]) -> None:
    """Raises an error that names the first bad row."""
    if bad.any():
        row = int(np.argmax(bad))
        more = more_rows(int(bad.sum()))
        raise InputError(f"{_place(annotations, row)}{more}: {why(row)}")


def _place(annotations: GroundTruth, row: int) -> str:
    """The file, the row if it is a table's, the video and the frame."""
    path, tubes = annotations.path, annotations.tubes
    number = f"row {row + 1}: " if path.suffix in (".csv", ".parquet") else ""
    return f"{path}: {number}{tubes.video_names[tubes.video[row]]} frame {tubes.frame[row]}"


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


def _sizes(videos: Videos | None, names: Sequence[str], paths: Sequence[Path]) -> np.ndarray:
    """(V, 3) int64 number of frames, width, height; measured where the table does not say."""
    from tqdm import tqdm

    sizes = np.zeros((len(names), 3), np.int64)
    if videos is not None:
        columns = np.stack([videos.num_frames, videos.width, videos.height], axis=1)
        known = dict(zip(videos.video, columns))
        for i, name in enumerate(names):
            sizes[i] = known.get(name, 0)
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    for i in tqdm(unknown, desc="measuring videos", unit="video", delay=2):
        sizes[i] = measure_video(paths[i])
    return sizes


def _check_boxes(annotations: GroundTruth, sizes: Mapping[str, np.ndarray]) -> None:
    """Refuses boxes after the end of their video or outside its picture.

    Args:
        annotations: the ground truth, also of other videos.
        sizes: number of frames, width and height of the videos chosen, by name.
    """
    tubes = annotations.tubes
    unlimited = np.full(3, np.iinfo(np.int64).max)
    limits = np.array([sizes.get(name, unlimited) for name in tubes.video_names])
    frames, width, height = limits.reshape(-1, 3)[tubes.video].T
    x1, y1, x2, y2 = tubes.boxes.T
    _refuse(
        annotations,
        tubes.frame >= frames,
        lambda row: (
            f"the video has only {frames[row]} frames (0 to {frames[row] - 1}); correct the frame, "
            "or num_frames in the table of videos"
        ),
    )
    chosen = frames < unlimited[0]
    # Some data sets write a box around the first column of pixels as x1 = x2 = 0.
    outside = (x2 < 0) | (y2 < 0) | (x1 >= width) | (y1 >= height)
    _refuse(
        annotations,
        chosen & outside,
        lambda row: (
            f"the box is outside the frame of {width[row]}x{height[row]}; correct the box, or "
            "width and height in the table of videos"
        ),
    )
    over = (x1 < -_SLACK) | (y1 < -_SLACK) | (x2 > width + _SLACK) | (y2 > height + _SLACK)
    over &= chosen
    if over.any():
        warnings.warn(
            f"{_place(annotations, int(np.argmax(over)))}: {int(over.sum())} boxes (this is "
            "the first) extend beyond the frame; they are clipped for training",
            stacklevel=3,
        )


def _warn_of_gaps(tubes: Tubes) -> None:
    """Frames between those with boxes would be learnt as background."""
    order = np.lexsort((tubes.frame, tubes.tube))
    steps = np.diff(tubes.frame[order])[np.diff(tubes.tube[order]) == 0]
    usual = int(np.median(steps)) if len(steps) else 1
    if usual > 1:
        warnings.warn(
            f"most boxes are {usual} frames apart; the frames between them count as "
            "background. Train with --key-frames 1 and --background 0",
            stacklevel=3,
        )


def read_of_set(
    video_set: DetectionSet,
    video: int,
    start: int,
    stop: int,
    streams: Streams = "rgb",
    flow_method: FlowMethod = "tvl1",
) -> np.ndarray:
    """Frames of a video of the set, (stop - start, h, w, C) uint8.

    Raises:
        InputError: it cannot be read, or has no frame `start`.

    Warns:
        it ends too early; its last frame is repeated.
    """
    path = video_set.media[video]
    if streams == "rgb":
        pictures = list(read_frames(path, start, stop))
    else:
        both = read_frames_with_flow(path, start, stop, flow_method)
        pictures = [one[..., STREAM_CHANNELS[streams]] for one in both]
    if len(pictures) == stop - start:
        return np.stack(pictures)
    if not pictures:
        raise InputError(
            f"{path}: has no frame {start}, although the table of videos says "
            f"{video_set.num_frames[video]} frames; download the video again, or correct the "
            "table"
        )
    warnings.warn(
        f"{path}: ends after {start + len(pictures)} of {video_set.num_frames[video]} frames; "
        "the last frame is repeated",
        stacklevel=2,
    )
    return np.stack(pictures + [pictures[-1]] * (stop - start - len(pictures)))
