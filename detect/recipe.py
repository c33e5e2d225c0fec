"""From a data set and settings to a trained detector, for `actiontubes train` and the demo."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from ..backbones.classifier import PretrainedModel
from ..backbones.inception import ENDPOINTS, get_variant
from ..backbones.torchvision_trunks import TORCHVISION, load_torchvision_trunk
from ..backbones.weights import fetch_torchvision, load_pretrained
from ..datasets.augmentation import Augmentation
from ..datasets.clips import Clips, ClipSettings
from ..datasets.files import InputError, write_json
from ..datasets.media import read_pictures
from ..datasets.tables import Detections, Tubes, read_table, write_table
from ..datasets.video_sets import VideoSet
from .action_head import RemainingBlocks
from .detect_set import detect_set, score_set
from .detector import Detector, build_detector
from .detector_file import is_detector, load_detector, trunk_of
from .detector_settings import DetectorSettings
from .detector_training import train_detector
from .evaluation.evaluate import Evaluation
from .proposals import Proposals, open_proposals, table_proposals
from .training import Schedule
from .training_state import EVALUATIONS, write_evaluation

LEARNED = ("resnet50", "resnet18", "features")
DETECTIONS, TUBES, RESULTS = "detections.parquet", "tubes.parquet", "results.json"


@dataclass(frozen=True)
class Supervision:
    """How clips are drawn for training; see `Clips` and `ClipSettings`.

    Attributes:
        key_frames, key_frame_step, margin: of a clip.
        balance, background, cache: of `Clips`.
        workers: processes that read clips.
        augmentation: how clips vary, or None.
    """

    key_frames: int = 1
    key_frame_step: int = 4
    margin: int = 0
    balance: bool = True
    background: float = 0.1
    cache: bool = False
    workers: int = 0
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise InputError(f"--workers {self.workers}: must be 0 or more")


def new_detector(
    settings: DetectorSettings,
    *,
    weights: str | None = None,
    flow_weights: str | None = None,
    resnet_weights: str | None = None,
    freeze: str | None = None,
    seed: int = 0,
) -> Detector:
    """A detector to be trained.

    Args:
        settings: its `mean` and `std` give way to those of the weights.
        weights: of the trunk, see `load_pretrained`, or a trained detector; None for new ones.
        flow_weights: of the trunk on flow, likewise; None for `weights`.
        resnet_weights: "imagenet", or the path of a state dict of torchvision's ResNet, or None.
        freeze: the last endpoint that is not trained, of the trunk or of the blocks in the head.
        seed: of the new weights.

    Raises:
        InputError: settings that do not fit, weights that cannot be had.
    """
    torch.manual_seed(seed)
    flow_weights = flow_weights or weights
    needed = flow_weights if settings.streams == "flow" else weights
    if settings.norm == "frozen" and needed is None:
        raise InputError(
            "--norm frozen: needs pretrained weights; give --weights, or use --norm batch"
        )
    trunk, flow_trunk = None, None
    if settings.streams != "rgb" and flow_weights is not None:
        flow_trunk = _pretrained(settings, flow_weights, channels_in=2).trunk
    if settings.streams == "flow":
        trunk, flow_trunk = flow_trunk, None
    elif weights is not None:
        model = _pretrained(settings, weights, channels_in=3)
        trunk, settings = model.trunk, replace(settings, mean=model.mean, std=model.std)
    detector = build_detector(settings, trunk, flow_trunk)
    if detector.resnet is not None and resnet_weights is not None:
        _load_resnet(detector, resnet_weights)
    if freeze is not None:
        freeze_layers(detector, freeze)
    return detector


def freeze_layers(detector: Detector, last: str) -> None:
    """Keeps the layers up to the endpoint `last` as they are, in the trunks and in the head.

    Raises:
        InputError: no such endpoint; blocks of the head whose norms are trained.
    """
    features = detector.head.features
    blocks: dict[str, nn.Module] = {}
    if isinstance(features, RemainingBlocks):
        blocks = dict(features.blocks.named_children())
    if last in blocks and detector.settings.norm == "batch":
        raise InputError(
            f"--freeze {last}: cannot be combined with --norm batch, which trains the batch norms "
            "of these layers"
        )
    try:
        for trunk in (detector.trunk, detector.flow_trunk):
            if trunk is not None:
                trunk.freeze(trunk.last if last in blocks else last)
    except ValueError as error:
        raise InputError(f"--freeze: {error}") from error
    if last in blocks:
        for name in list(blocks)[: list(blocks).index(last) + 1]:
            blocks[name].requires_grad_(False)


def _pretrained(settings: DetectorSettings, weights: str, *, channels_in: int) -> PretrainedModel:
    """A trunk's weights, from a file or name of `load_pretrained`, or out of a trained detector."""
    option = f"--{'flow-' * (channels_in == 2)}weights {weights}"
    name = settings.backbone
    if is_detector(Path(weights)):
        model = trunk_of(load_detector(Path(weights)), channels_in)
        if model.trunk.variant.name != name:
            raise InputError(
                f"{option}: are weights of {model.trunk.variant.name}, but the backbone is "
                f"{name}; change --backbone or the weights"
            )
        needed = {*settings.endpoints, *ENDPOINTS[-1:] * (settings.head == "mixed")}
        if not needed <= {name for name, _ in model.trunk.named_children()}:
            raise InputError(
                f"{option}: contains the layers up to {model.trunk.last} only; give weights "
                "of the whole backbone"
            )
    elif name in TORCHVISION:
        model = load_torchvision_trunk(name, weights)
    else:
        model = load_pretrained(get_variant(name), weights, channels_in=channels_in)
    if model.trunk.width != settings.width:
        raise InputError(
            f"{option}: has width {model.trunk.width}, but --width is {settings.width}; give "
            f"--width {model.trunk.width}"
        )
    return model


def _load_resnet(detector: Detector, weights: str) -> None:
    from torchvision.models import get_weight

    from ..backbones.weights import state_dict

    assert detector.resnet is not None
    depth = 50 if detector.settings.proposals == "resnet50" else 18
    if weights == "imagenet":
        path = fetch_torchvision(get_weight(f"ResNet{depth}_Weights.DEFAULT"))
    else:
        path = Path(weights)
    own = detector.resnet.layers.state_dict()
    found = state_dict(path)
    missing = [key for key in own if key not in found or found[key].shape != own[key].shape]
    if missing:
        raise InputError(
            f"{path}: is not a torchvision ResNet-{depth} ({missing[0]} is missing or has another "
            "shape)"
        )
    detector.resnet.layers.load_state_dict({key: found[key] for key in own})


def train_on(
    detector: Detector,
    train_set: VideoSet,
    test_set: VideoSet,
    out: Path,
    schedule: Schedule,
    supervision: Supervision,
    accelerator: Accelerator,
    *,
    proposals: str | None = None,
    resume: bool = False,
    compile: bool = False,
    seed: int = 0,
    watch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> tuple[Detector, Evaluation]:
    """Trains and evaluates; writes, beside what `train_detector` writes, detections.parquet,
    tubes.parquet, results.json and evaluations.csv of the test videos to `out`.

    Args:
        proposals: for a detector without its own: "ground-truth", or a source of
            `open_proposals`, which runs over all videos once.
        others: see `training.train`.

    Raises:
        InputError: see `training.train`, `Clips`.
    """
    settings = detector.settings
    half = accelerator.mixed_precision == "bf16"
    if not settings.multi_label:
        _warn_of_several_classes(train_set.tubes)
    given, people = None, None
    if settings.proposals == "given":
        assert proposals is not None
        given, people = _given(proposals, train_set, test_set, out, accelerator, resume)
    clips = Clips(
        train_set,
        ClipSettings(
            settings.frames, settings.height, settings.width_pixels, supervision.key_frames,
            supervision.key_frame_step, supervision.margin, settings.frame_step,
            settings.clip_streams, settings.flow_method,
        ),
        augmentation=supervision.augmentation, seed=seed, balance=supervision.balance,
        background=supervision.background, cache=supervision.cache,
        proposals=given,
    )  # fmt: skip
    last: list[Evaluation] = []

    def evaluate(averaged: Detector, step: int) -> dict[str, float]:
        found = detect_set(averaged, test_set, half=half, people=people)
        result, tubes = score_set(test_set, found)
        last[:] = [result]
        if not accelerator.is_main_process:
            return {}
        write_table(found, out / DETECTIONS)
        write_table(tubes, out / TUBES)
        scores = result.as_json()
        write_json(scores, out / RESULTS)
        row = {
            "frame-mAP@0.5": scores["frame_map"]["0.5"],
            "video-mAP@0.5": scores["video_map"]["0.5"],
        }
        write_evaluation(
            out / EVALUATIONS, step,
            {"protocol": scores["protocol"], **{name: f"{v:.4f}" for name, v in row.items()}},
        )  # fmt: skip
        values = ", ".join(f"{name} {value:.1f}" for name, value in row.items())
        tqdm.write(f"step {step}: {values} (protocol {scores['protocol']})")
        return row

    trained = train_detector(
        detector, clips, out, schedule, accelerator, evaluate=evaluate, resume=resume,
        workers=supervision.workers, compile=compile, seed=seed, watch=watch,
    )  # fmt: skip
    if not last:  # a finished run that was resumed
        evaluate(trained, schedule.steps)
    return trained, last[0]


def _warn_of_several_classes(truth: Tubes) -> None:
    """A softmax knows one class a person; of boxes with several the first is learnt."""
    rows = np.column_stack([truth.video, truth.frame, truth.boxes])
    several = len(np.unique(np.column_stack([rows, truth.label]), axis=0))
    several -= len(np.unique(rows, axis=0))
    if several:
        warnings.warn(
            f"{several} ground truth boxes have several classes; only the first of each is "
            "used for training. Use --multi-label to train on all",
            stacklevel=3,
        )


def _given(
    source: str,
    train_set: VideoSet,
    test_set: VideoSet,
    out: Path,
    accelerator: Accelerator,
    resume: bool,
) -> tuple[Detections | None, Callable[[str], Proposals]]:
    """Proposals of all videos: as a table for training, and by a video's name for detection."""
    if source == "ground-truth":
        tubes = test_set.tubes
        score = np.ones(len(tubes))
        truth = Detections(
            tubes.video, tubes.frame, np.zeros_like(tubes.label), score, tubes.boxes,
            tubes.video_names, ("person",),
        )  # fmt: skip
        return None, _from_table(truth, test_set, "the ground truth")
    if source.endswith((".parquet", ".csv")):
        path = Path(source)
    else:
        path = out / "proposals.parquet"
        if accelerator.is_main_process and not (resume and path.is_file()):
            device = accelerator.device.type
            write_table(_find_people(source, [train_set, test_set], device), path)
        accelerator.wait_for_everyone()
    table = read_table(Detections, path)
    return table, _from_table(table, test_set, str(path))


def _from_table(table: Detections, videos: VideoSet, where: str) -> Callable[[str], Proposals]:
    """The table's boxes in the pixels of the media, whose size may be another."""

    def of(name: str) -> Proposals:
        number = videos.names.index(name)
        look_up = table_proposals(table, name, where=where)
        width, height = videos.width[number], videos.height[number]

        def people(frames: np.ndarray, first: int) -> list[np.ndarray]:
            scale = np.array([frames.shape[2] / width, frames.shape[1] / height] * 2 + [1])
            shape = (len(frames), int(height), int(width), 3)
            # Only the size of the frames is asked for.
            blank = np.broadcast_to(np.zeros(1, np.uint8), shape)
            return [boxes * scale for boxes in look_up(blank, first)]

        return people

    return of


def _find_people(source: str, sets: list[VideoSet], device: str) -> Detections:
    detect = open_proposals(source, device=device)
    todo = {name: (videos, number) for videos in sets for number, name in enumerate(videos.names)}
    names, video, frame, rows = tuple(todo), [], [], []
    for code, (videos, number) in enumerate(
        tqdm(todo.values(), desc="finding people", unit=" videos", leave=False)
    ):
        pictures = read_pictures(videos.media[number], 0, int(videos.num_frames[number]))
        for place, picture in enumerate(pictures):
            size = np.array(picture.shape[1::-1])
            scale = np.array([videos.width[number], videos.height[number]]) / size
            boxes = detect(picture[None], place)[0] * [*scale, *scale, 1]
            video += [code] * len(boxes)
            frame += [place] * len(boxes)
            rows.append(boxes)
    table = np.concatenate(rows) if rows else np.empty((0, 5))
    return Detections(
        np.array(video, np.int32), np.array(frame, np.int32), np.zeros(len(video), np.int32),
        np.clip(table[:, 4], 0, 1).astype(np.float64), table[:, :4].astype(np.float64), names,
        ("person",),
    )  # fmt: skip
