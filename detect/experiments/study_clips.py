"""Clips for the study's networks: around actors, or of labelled videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch.utils.data import Dataset

from ...datasets.clips.actor_clips import ActorClips, ActorTestClips, ActorTubes
from ...datasets.clips.classification_clips import (
    ClassificationClips,
    ClassificationSample,
    FullVideos,
    Reader,
    flow_reader,
)
from ...datasets.clips.classification_set import ClassificationSet
from ...datasets.clips.detection_set import DetectionSet
from ...datasets.clips.options import ActorClipConfig, CropConfig
from ...datasets.errors import InputError
from ...datasets.flow import FlowMethod
from ...datasets.flow.cache import cache_path, write_cache
from ...datasets.video.media import read_frames

Stream = Literal["rgb", "flow"]


@dataclass(frozen=True, eq=False)
class StudyClips:
    """The clips of one stream.

    Attributes:
        labels: the classes.
        size: T, H, W of a clip.
        samples: for a seed, the training clips, indexed by position, without end.
        tests: one sample for each clip or video to test on; it has a length.
        media: the videos of both.
    """

    labels: tuple[str, ...]
    size: tuple[int, int, int]
    samples: Callable[[int], Dataset[ClassificationSample]]
    tests: Dataset[ClassificationSample]
    media: tuple[Path, ...]


def actor_study_clips(
    train_set: DetectionSet, test_set: DetectionSet, config: ActorClipConfig, *, memory: int
) -> StudyClips:
    """Clips around the actors of a detection data set.

    Args:
        train_set, test_set: with the same labels.
        config: of the clips.
        memory: bytes for the training clips, see `ActorTubes`, and as much for the test clips.
    """
    train_tubes, test_tubes = (
        ActorTubes(part, config, memory=memory) for part in (train_set, test_set)
    )
    return StudyClips(
        labels=train_set.labels,
        size=(config.frames, *config.size),
        samples=lambda seed: ActorClips(train_tubes, seed=seed),
        tests=ActorTestClips(test_tubes),
        media=tuple(dict.fromkeys((*train_set.media, *test_set.media))),
    )


def video_study_clips(
    train_videos: ClassificationSet,
    test_videos: ClassificationSet,
    config: CropConfig,
    stream: Stream,
    flow_method: FlowMethod,
) -> StudyClips:
    """Clips of labelled videos as for `actiontubes classify`; the middle clip of each test video.

    Args:
        train_videos, test_videos: with the same labels.
        config: of the crops.
        stream: rgb or flow.
        flow_method: of the flow, cached or computed.
    """
    read: Reader = read_frames if stream == "rgb" else flow_reader(flow_method)
    return StudyClips(
        labels=train_videos.labels,
        size=(config.frames, config.size, config.size),
        samples=lambda seed: ClassificationClips(train_videos, config, seed=seed, read=read),
        tests=FullVideos(test_videos, config.size, config.frames, read),
        media=tuple(dict.fromkeys((*train_videos.media, *test_videos.media))),
    )


def cache_flow(media: Sequence[Path], method: FlowMethod) -> None:
    """Computes the flow of videos into files beside them, unless these exist."""
    from tqdm import tqdm

    missing = [path for path in media if not cache_path(path, method).is_file()]
    for path in tqdm(missing, desc="flow", unit=" videos", leave=False):
        write_cache(path, cache_path(path, method), method)


def parse_pairs(words: Sequence[str], labels: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of classes, such as "sit down/stand up", as indices into the labels.

    Raises:
        InputError: a word that is not such a pair.
    """
    pairs = []
    for word in words:
        first, _, second = (part.strip() for part in word.partition("/"))
        if first == second or not {first, second} <= set(labels):
            raise InputError(
                f"--pairs {word}: must be two different classes of the data with / between "
                f'them, such as "{labels[0]}/{labels[1]}"; the classes are '
                f"{', '.join(labels)}"
            )
        pairs.append((labels.index(first), labels.index(second)))
    return pairs
