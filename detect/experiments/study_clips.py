"""What the study's networks see: clips around actors, or whole labelled videos."""

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
        samples: of a seed, the training clips, position to sample, without end.
        tests: a sample a clip or video to test on; it has a length.
        media: the videos that both are from.
    """

    labels: tuple[str, ...]
    size: tuple[int, int, int]
    samples: Callable[[int], Dataset[ClassificationSample]]
    tests: Dataset[ClassificationSample]
    media: tuple[Path, ...]


def actor_material(
    train_set: DetectionSet,
    test_set: DetectionSet,
    settings: ActorClipConfig,
    *,
    memory: int = 2 << 30,
) -> StudyClips:
    """Clips around the actors of a detection set's two parts.

    Args:
        memory: bytes that the training clips' strips may take, see `ActorTubes`; as much again
            those to test on.
    """
    train_tubes, test_tubes = (
        ActorTubes(part, settings, memory=memory) for part in (train_set, test_set)
    )
    return StudyClips(
        train_set.labels,
        (settings.frames, *settings.size),
        lambda seed: ActorClips(train_tubes, seed=seed),
        ActorTestClips(test_tubes),
        tuple(dict.fromkeys((*train_set.media, *test_set.media))),
    )


def video_study_clips(
    train_videos: ClassificationSet,
    test_videos: ClassificationSet,
    settings: CropConfig,
    stream: Stream = "rgb",
    flow_method: FlowMethod = "tvl1",
) -> StudyClips:
    """Clips of whole videos with a label each, as of `actiontubes classify`; the middle clip of
    each video to test on.

    Args:
        train_videos, test_videos: of the same labels.
    """
    read: Reader = read_frames if stream == "rgb" else flow_reader(flow_method)
    return StudyClips(
        train_videos.labels,
        (settings.frames, settings.size, settings.size),
        lambda seed: ClassificationClips(train_videos, settings, seed=seed, read=read),
        FullVideos(test_videos, settings.size, settings.frames, read),
        tuple(dict.fromkeys((*train_videos.media, *test_videos.media))),
    )


def cache_flow(media: Sequence[Path], method: FlowMethod) -> None:
    """Computes the flow of videos once, into files beside them; those that are there stay."""
    from tqdm import tqdm

    missing = [path for path in media if not cache_path(path, method).is_file()]
    for path in tqdm(missing, desc="flow", unit=" videos", leave=False):
        write_cache(path, cache_path(path, method), method)


def parse_pairs(words: list[str], labels: tuple[str, ...]) -> list[tuple[int, int]]:
    """Pairs of classes, such as "sit down/stand up", as places among the labels.

    Raises:
        InputError: a word that is no such pair.
    """
    found = []
    for word in words:
        first, _, second = (part.strip() for part in word.partition("/"))
        if first == second or not {first, second} <= set(labels):
            raise InputError(
                f"--pairs {word}: must be two different classes of the data with / between "
                f'them, such as "{labels[0]}/{labels[1]}"; the classes are '
                f"{', '.join(labels)}"
            )
        found.append((labels.index(first), labels.index(second)))
    return found
