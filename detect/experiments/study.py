"""The paper's study: networks of the family trained on one budget, with several seeds each.

A run is one network on one input with one seed. Its results are a JSON file in the study's folder.
Runs that have one are skipped; a run that was interrupted is resumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ...backbones.classifier import Classifier, PretrainedModel
from ...backbones.cost import multiply_adds, parameters
from ...backbones.family import ENDPOINTS, VARIANTS, get_variant
from ...backbones.inception import Trunk
from ...datasets.errors import InputError, choose_from
from ...datasets.storage.files import atomic_write, write_json
from ...datasets.storage.text_files import read_json
from ..evaluation.classification import VideoScores
from ..inference.classify import fuse, score_videos
from ..training.classifier import ClassificationTask, new_classifier
from ..training.loop import fit
from ..training.options import ClassifierOptions, RunOptions, Schedule
from ..training.state import LOSSES, STATE
from .study_clips import Stream, StudyClips
from .study_statistics import clip_accuracy
from .timing import median, time_rounds

Streams = Literal["rgb", "flow", "both"]
STREAMS: tuple[Streams, ...] = ("rgb", "flow", "both")
RUNS_FOLDER, SETTINGS_FILE, _SCORES_FILE = "runs", "study.json", "scores.npz"
_SWEEP = "(K)"
_TIMED_CLIPS, _TIMED_PASSES = 8, 5
# Settings of version 0.1 that have other names now.
_RENAMED_SETTINGS = {"optimiser": "optimizer", "warm_up": "warmup", "colour": "color"}


@dataclass(frozen=True)
class Run:
    """One network on one input with one seed; "both" is the late fusion of two runs."""

    backbone: str
    streams: Streams
    seed: int

    def folder(self, out: Path) -> Path:
        """The folder of its checkpoint and scores, in the study's folder `out`."""
        backbone = self.backbone.replace("(", "-").replace(")", "")
        return out / RUNS_FOLDER / f"{backbone}.{self.streams}.{self.seed}"

    def record(self, out: Path) -> Path:
        """The JSON file of its results, beside its folder."""
        folder = self.folder(out)
        return folder.with_name(f"{folder.name}.json")


@dataclass(frozen=True)
class Study:
    """What all runs of a study have in common.

    Attributes:
        out: gets runs/<run>.json for each run, and a folder of the same name with its checkpoint.
        last: the trunks' last endpoint.
        network: of all runs, each with its own backbone and stream.
        schedule: the same for all.
        options: device, precision and workers; each run has a seed of its own.
        pairs: of opposite classes, as indices into the labels.
    """

    out: Path
    last: str
    network: ClassifierOptions
    schedule: Schedule
    options: RunOptions
    pairs: Sequence[tuple[int, int]] = ()


def expand_sweeps(names: Sequence[str], last: str) -> list[str]:
    """The backbones, each once, in order, with sweeps over K written out.

    Args:
        names: of `get_variant`; "top-heavy-i3d(K)" and "bottom-heavy-i3d(K)", with the letter K,
            are one network for every endpoint K up to `last` that convolves over time.
        last: the trunks' last endpoint.

    Raises:
        InputError: no such network or endpoint; a network that up to `last` is the same as I2D or
            I3D.
    """
    if last not in ENDPOINTS:
        raise InputError(f"--endpoint {last}: no such layer; {choose_from(last, ENDPOINTS)}")
    index = ENDPOINTS.index
    swept = [
        endpoint
        for endpoint in ENDPOINTS[: index(last) + 1]
        if endpoint == "Conv2d_2c_3x3" or endpoint.startswith("Mixed")
    ]
    backbones: list[str] = []
    for name in names:
        base = name.removesuffix(_SWEEP)
        backbones += [f"{base}({k})" for k in swept] if name.endswith(_SWEEP) else [name]
    for name in backbones:
        variant = get_variant(name)
        if variant.first_temporal is None or variant.last_temporal is None:
            continue
        if index(variant.first_temporal) > index(last):
            same = "i2d"
        elif name.startswith("bottom-heavy") and index(variant.last_temporal) >= index(last):
            same = "i3d"
        else:
            continue
        raise InputError(
            f"--backbones {name}: with --endpoint {last} it is the same network as {same}; "
            "leave it out, or choose a later endpoint"
        )
    return list(dict.fromkeys(backbones))


def plan_runs(
    backbones: Sequence[str], streams: Sequence[Streams], seeds: Sequence[int]
) -> list[Run]:
    """All runs: seed by seed, so that a study stopped early has some runs of each network.

    The fusion of two streams comes last, and needs the runs of both.
    """
    needed = STREAMS if "both" in streams else [each for each in STREAMS if each in streams]
    return [
        Run(backbone, stream, seed)
        for stream in needed
        for seed in dict.fromkeys(seeds)
        for backbone in backbones
    ]


def check_same_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Writes a study's settings, or checks that those written before are the same.

    Raises:
        InputError: a setting has another value, or the file is damaged.
    """
    current = json.loads(json.dumps(dict(settings)))
    if not path.is_file():
        write_json(current, path)
        return
    before = _read_json(path)
    for old, new in _RENAMED_SETTINGS.items():
        if old in before and new in current:
            before[new] = before.pop(old)
    if "height" in before:  # in version 0.1 a clip's width stood in place of the network's
        before["size"] = [before.pop("height"), before["width"]]
        before["width"] = current["width"]
    for name in {**current, **before}:
        was, now = before.get(name), current.get(name)
        if was != now:
            raise InputError(
                f"{path}: this study was started with {name} {was}, now it is {now}; use the "
                "same options, or choose another --out"
            )


def run_study(
    runs: Sequence[Run], open_clips: Callable[[Stream], StudyClips], study: Study
) -> None:
    """Runs all that have no record yet; `read_records` reads the results.

    Args:
        runs: of `plan_runs`.
        open_clips: called once for each stream that is needed.
        study: what the runs have in common.

    Raises:
        InputError: see `fit`; scores that are needed for a fusion are missing.
    """
    accelerator = study.options.accelerator(study.out)
    is_main = accelerator.is_main_process
    # All processes decide this before any of them writes a record.
    pending = [run for run in runs if not run.record(study.out).is_file()]
    accelerator.wait_for_everyone()
    to_train = [run for run in pending if run.streams != "both"]
    bar = tqdm(to_train, unit=" runs", leave=False, disable=not to_train or not is_main)
    for stream, group in groupby(bar, lambda run: run.streams):
        clips = open_clips(stream)
        for run in group:
            bar.set_description(f"{run.backbone} {run.streams} seed {run.seed}")
            train_and_score(run, clips, study)
    if is_main:
        for run in pending:
            if run.streams == "both":
                _fuse(run, study)
    accelerator.wait_for_everyone()


def read_records(out: Path) -> list[dict[str, Any]]:
    """The records of all finished runs: by streams, network (in the family's order) and seed.

    Raises:
        InputError: a file that is not a record.
    """
    records = []
    for path in sorted((out / RUNS_FOLDER).glob("*.json")):
        record = _read_json(path)
        try:
            base, _, k = record["backbone"].rstrip(")").partition("(")
            records.append((
                STREAMS.index(record["streams"]), [*VARIANTS].index(base),
                ENDPOINTS.index(k) if k in ENDPOINTS else len(k), int(record["seed"]), record,
            ))  # fmt: skip
        except (LookupError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: is not the record of a run; delete it or move it away"
            ) from error
    return [record for *_, record in sorted(records, key=lambda row: row[:4])]


def train_and_score(run: Run, clips: StudyClips, study: Study) -> None:
    """Trains one network, resuming if it was started, scores it and writes its record.

    Args:
        run: on one stream.
        clips: of this stream.
        study: what the runs have in common.
    """
    accelerator = study.options.accelerator(study.out)
    folder = run.folder(study.out)
    assert run.streams != "both"
    network = replace(study.network, backbone=run.backbone, streams=run.streams)
    model = new_classifier(network, clips.labels, last=study.last, seed=run.seed)
    model = fit(
        ClassificationTask(model), clips.samples(run.seed), folder, study.schedule,
        replace(study.options, resume=True, seed=run.seed),
    ).model  # fmt: skip
    half = accelerator.mixed_precision == "bf16"

    score = partial(
        score_videos, model, clips.tests, frames=clips.size[0], whole=False, half=half,
        workers=study.options.workers,
    )  # fmt: skip
    normal = score()
    # Reversing the frames of a flow clip does not give the flow of the reversed video.
    backwards = score(backwards=True) if run.streams == "rgb" else None
    if accelerator.is_main_process:
        with torch.device("meta"):
            variant, channels_in = get_variant(run.backbone), network.channels_in
            trunk = Trunk(variant, network.width, study.last, channels_in)
            head = Classifier(trunk.out_channels, len(clips.labels))
            shape_only = nn.Sequential(trunk, head).eval()
        losses = np.genfromtxt(folder / LOSSES, delimiter=",", names=True)
        record = asdict(run) | {
            "multiply_adds": multiply_adds(shape_only, (1, channels_in, *clips.size)),
            "parameters": parameters(shape_only),
            "clips_per_second": clips_per_second(model, clips.size, half),
            "step_seconds": median(losses["seconds"]),
        }
        with atomic_write(folder / _SCORES_FILE) as temporary:
            np.savez(
                temporary, names=np.array(normal.names), label=normal.label,
                clip=normal.clip_logits, read=normal.is_readable,
            )  # fmt: skip
        record |= _accuracies(normal, backwards, study.pairs)
        write_json(record, run.record(study.out))
        (folder / STATE).unlink(missing_ok=True)  # larger than all the rest, and not needed now
    accelerator.wait_for_everyone()


def clips_per_second(model: PretrainedModel, size: tuple[int, int, int], half: bool) -> float:
    """Clips that a network scores in a second, in batches; the median of five passes.

    Args:
        model: in evaluation mode.
        size: T, H, W of the clips.
        half: compute in bfloat16.
    """
    assert model.head is not None
    device = next(model.head.parameters()).device
    channels = model.trunk.channels_in
    clips = torch.randint(256, (_TIMED_CLIPS, *size, channels), dtype=torch.uint8, device=device)

    def score() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            model.logits(clips)

    [seconds] = time_rounds({"": score}, _TIMED_PASSES, device.type, progress=False).values()
    return _TIMED_CLIPS / median(seconds)


def _fuse(run: Run, study: Study) -> None:
    """Writes the record of the late fusion of two runs, whose costs add up."""
    parts = [Run(run.backbone, stream, run.seed) for stream in ("rgb", "flow")]
    rgb, flow = (_read_scores(part.folder(study.out) / _SCORES_FILE) for part in parts)
    records = [_read_json(part.record(study.out)) for part in parts]
    fused = fuse(rgb, flow, range(rgb.clip_logits.shape[1]))
    record = asdict(run) | {
        name: sum(part[name] for part in records)
        for name in ("multiply_adds", "parameters", "step_seconds")
    }
    record["clips_per_second"] = 1 / sum(1 / part["clips_per_second"] for part in records)
    write_json(record | _accuracies(fused, None, study.pairs), run.record(study.out))


def _accuracies(
    normal: VideoScores, backwards: VideoScores | None, pairs: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """The part of a record that depends on scores, of normal and of reversed clips."""
    if not normal.is_readable.any():
        raise InputError(f"none of the test videos could be read; the first is {normal.names[0]}")

    def accuracy(scores: VideoScores) -> dict[str, Any]:
        known = scores.is_readable
        return clip_accuracy(scores.clip_logits[known], scores.label[known], pairs)

    return {
        "clips": int(normal.is_readable.sum()),
        "normal": accuracy(normal),
        "reversed": backwards and accuracy(backwards),
    }


def _read_scores(path: Path) -> VideoScores:
    try:
        with np.load(path) as file:
            names = tuple(file["names"].tolist())
            return VideoScores(names, file["label"], file["clip"], None, file["read"])
    except Exception as error:
        raise InputError(
            f"{path}: is missing or damaged; delete {path.parent}.json and run again to "
            "recompute it"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except ValueError as error:
        raise InputError(f"{path}: is damaged; delete it and run again to recompute it") from error
