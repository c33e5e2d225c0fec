"""The paper's study: networks of the family under one budget, several seeds each.

A run is one network on one stream with one seed. When it is done its record, a JSON file, stands
in the study's folder, and it is not run again; until then its training goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from ...backbones.classifier import Classifier, PretrainedModel
from ...backbones.cost import multiply_adds, parameters
from ...backbones.family import ENDPOINTS, VARIANTS, get_variant
from ...backbones.inception import Trunk
from ...datasets.errors import InputError, choose_from
from ...datasets.files import atomic_write, write_json
from ..evaluation.classification import VideoScores
from ..inference.classify import fuse, score_videos
from ..training.classifier import new_classifier, train_classifier
from ..training.options import Schedule
from ..training.state import LOSSES, STATE
from .benchmark_backbones import timed_rounds
from .study_clips import Stream, StudyClips
from .study_statistics import clip_accuracy

STREAMS = ("rgb", "flow", "both")
RUNS, SETTINGS, SCORES = "runs", "study.json", "scores.npz"
_ALL = "(K)"
_TIMED_CLIPS, _TIMED_PASSES = 8, 5


@dataclass(frozen=True)
class Run:
    """One network on one stream with one seed; "both" is the late fusion of the two streams'."""

    backbone: str
    streams: Literal["rgb", "flow", "both"]
    seed: int

    def folder(self, out: Path) -> Path:
        """Where its checkpoint and scores stand; its record is the .json file beside it."""
        plain = self.backbone.replace("(", "-").replace(")", "")
        return out / RUNS / f"{plain}.{self.streams}.{self.seed}"

    def record(self, out: Path) -> Path:
        folder = self.folder(out)
        return folder.with_name(f"{folder.name}.json")


@dataclass(frozen=True)
class Network:
    """What all networks of a study have in common.

    Attributes:
        last: the trunk's last endpoint.
        width: multiplies the trunk's channels.
        weights: the first weights, see `new_classifier`.
        dropout: of the classifier.
    """

    last: str = "Mixed_3c"
    width: float = 0.25
    weights: str | None = None
    dropout: float = 0.2


def expand_sweeps(names: Sequence[str], last: str) -> list[str]:
    """The backbones meant, each once, in order.

    Args:
        names: of `get_variant`; "top-heavy-i3d(K)" and "bottom-heavy-i3d(K)" with K as it stands
            mean one network for every endpoint K up to `last` that convolves over time.
        last: the trunks' last endpoint.

    Raises:
        InputError: no such network or endpoint; one that up to `last` is I2D or I3D by another
            name.
    """
    if last not in ENDPOINTS:
        raise InputError(f"--endpoint {last}: no such layer; {choose_from(last, ENDPOINTS)}")
    place = ENDPOINTS.index
    over_time = [e for e in ENDPOINTS if e == "Conv2d_2c_3x3" or e.startswith("Mixed")]
    swept = [e for e in over_time if place(e) <= place(last)]
    found: list[str] = []
    for name in names:
        base = name.removesuffix(_ALL)
        found += [f"{base}({k})" for k in swept] if name.endswith(_ALL) else [name]
    for name in found:
        variant = get_variant(name)
        if variant.first_temporal is None or variant.last_temporal is None:
            continue
        if place(variant.first_temporal) > place(last):
            same = "i2d"
        elif name.startswith("bottom-heavy") and place(variant.last_temporal) >= place(last):
            same = "i3d"
        else:
            continue
        raise InputError(
            f"--backbones {name}: with --endpoint {last} it is the same network as {same}; "
            "leave it out, or choose a later endpoint"
        )
    return list(dict.fromkeys(found))


def plan_runs(
    backbones: Sequence[str],
    streams: Sequence[Literal["rgb", "flow", "both"]],
    seeds: Sequence[int],
) -> list[Run]:
    """All runs: seed by seed, so that a study stopped early has something of each network.

    The fusion of two streams comes last, and makes both of them be run.
    """
    wanted = [s for s in ("rgb", "flow") if s in streams or "both" in streams]
    if "both" in streams:
        wanted.append("both")
    return [
        Run(backbone, stream, seed)  # type: ignore[arg-type]
        for stream in wanted
        for seed in dict.fromkeys(seeds)
        for backbone in backbones
    ]


def check_same_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Writes a study's settings, or checks that those written before are the same.

    Raises:
        InputError: another value, or a file that is none of a study.
    """
    plain = json.loads(json.dumps(dict(settings)))
    if not path.is_file():
        write_json(plain, path)
        return
    before = _read_json(path)
    for name in {**plain, **before}:
        was, now = before.get(name), plain.get(name)
        if was != now:
            raise InputError(
                f"{path}: this study was started with {name} {was}, now it is {now}; use the "
                "same options, or choose another --out"
            )


def run_study(
    runs: Sequence[Run],
    open_material: Callable[[Stream], StudyClips],
    out: Path,
    network: Network,
    schedule: Schedule,
    accelerator: Accelerator,
    *,
    pairs: Sequence[tuple[int, int]] = (),
    workers: int = 0,
) -> None:
    """Runs what is not done yet; `read_records` has the results.

    Args:
        runs: of `plan_runs`.
        open_material: called once for each stream that is needed.
        out: gets runs/<run>.json for each, and beside it a folder with its checkpoint.
        network, schedule: the same for all.
        pairs: of classes that are opposite, as places among the labels.
        workers: processes that read videos.

    Raises:
        InputError: see `train_classifier`; scores to be fused are gone.
    """
    # All processes decide alike, before any writes a record.
    left = [run for run in runs if not run.record(out).is_file()]
    accelerator.wait_for_everyone()
    trained = [run for run in left if run.streams != "both"]
    with _progress(trained, accelerator) as bar:
        for stream, mine in groupby(trained, lambda run: run.streams):
            material = open_material(stream)
            for run in mine:
                train_and_score(
                    run, material, out, network, schedule, accelerator, pairs, workers,
                    partial(bar, run),
                )  # fmt: skip
    if accelerator.is_main_process:
        for run in left:
            if run.streams == "both":
                _fuse(run, out, pairs)
    accelerator.wait_for_everyone()


def read_records(out: Path) -> list[dict[str, Any]]:
    """The records of all runs that are done, stream by stream in the family's order.

    Raises:
        InputError: a record that is none.
    """
    records = []
    for path in sorted((out / RUNS).glob("*.json")):
        record = _read_json(path)
        try:
            base, _, k = record["backbone"].rstrip(")").partition("(")
            place = ENDPOINTS.index(k) if k in ENDPOINTS else len(k)
            family = list(VARIANTS).index(base)
            order = (STREAMS.index(record["streams"]), family, place, int(record["seed"]))
        except (LookupError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: is not the record of a run; delete it or move it away"
            ) from error
        records.append((order, record))
    return [record for _, record in sorted(records, key=lambda pair: pair[0])]


def train_and_score(
    run: Run,
    material: StudyClips,
    out: Path,
    network: Network,
    schedule: Schedule,
    accelerator: Accelerator,
    pairs: Sequence[tuple[int, int]] = (),
    workers: int = 0,
    watch: Callable[[float], None] | None = None,
) -> None:
    """Trains one network, or goes on with it, scores it and writes its record.

    Args:
        run: on one stream.
        watch: called after each step with the share of the steps that are taken.
        others: see `run_study`.
    """
    folder = run.folder(out)
    channels_in: Literal[2, 3] = 3 if run.streams == "rgb" else 2
    model = new_classifier(
        run.backbone, material.labels, weights=network.weights, width=network.width,
        last=network.last, dropout=network.dropout, channels_in=channels_in, seed=run.seed,
    )  # fmt: skip
    model = train_classifier(
        model, material.samples(run.seed), folder, schedule, accelerator, resume=True,
        workers=workers, seed=run.seed,
        watch=watch and (lambda step, _: watch((step + 1) / schedule.steps)),
    )  # fmt: skip
    half = accelerator.mixed_precision == "bf16"

    def score(backwards: bool) -> VideoScores:
        return score_videos(
            model, material.tests, frames=material.size[0], whole=False, backwards=backwards,
            half=half, workers=workers,
        )  # fmt: skip

    normal = score(False)
    # The flow of a video that plays backwards is another one's, not this one's from its end.
    backwards = score(True) if run.streams == "rgb" else None
    if accelerator.is_main_process:
        size = (1, channels_in, *material.size)
        record = asdict(run) | _cost(run.backbone, size, network, len(material.labels))
        record |= {
            "clips_per_second": clips_per_second(model, material.size, half),
            "step_seconds": _step_seconds(folder / LOSSES),
        }
        _write_scores(normal, folder / SCORES)
        write_json(record | _accuracies(normal, backwards, pairs), run.record(out))
        (folder / STATE).unlink(missing_ok=True)  # larger than all the rest, and done with
    accelerator.wait_for_everyone()
    accelerator.free_memory()


def clips_per_second(model: PretrainedModel, size: tuple[int, int, int], half: bool) -> float:
    """How many clips a second a network scores in batches, the median of five passes.

    Args:
        model: in evaluation mode.
        size: T, H, W of the clips.
        half: in bfloat16.
    """
    assert model.head is not None
    device = next(model.head.parameters()).device
    channels = model.trunk.channels_in
    clips = torch.randint(256, (_TIMED_CLIPS, *size, channels), dtype=torch.uint8, device=device)

    def score() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            model.logits(clips)

    [seconds] = timed_rounds({"": score}, _TIMED_PASSES, device.type).values()
    return _TIMED_CLIPS / median(seconds)


def _cost(backbone: str, size: tuple[int, ...], network: Network, classes: int) -> dict[str, int]:
    with torch.device("meta"):
        trunk = Trunk(get_variant(backbone), network.width, network.last, size[1])
        model = nn.Sequential(trunk, Classifier(trunk.out_channels, classes)).eval()
    return {"multiply_adds": multiply_adds(model, size), "parameters": parameters(model)}


def _fuse(run: Run, out: Path, pairs: Sequence[tuple[int, int]]) -> None:
    """Writes the record of the late fusion of two runs, whose costs add up."""
    parts = [Run(run.backbone, stream, run.seed) for stream in ("rgb", "flow")]
    one, other = (_read_scores(part.folder(out) / SCORES) for part in parts)
    records = [_read_json(part.record(out)) for part in parts]
    fused = fuse(one, other, range(one.clip.shape[1]))
    record = asdict(run) | {
        name: sum(part[name] for part in records)
        for name in ("multiply_adds", "parameters", "step_seconds")
    }
    record["clips_per_second"] = 1 / sum(1 / part["clips_per_second"] for part in records)
    write_json(record | _accuracies(fused, None, pairs), run.record(out))


def _accuracies(
    normal: VideoScores, backwards: VideoScores | None, pairs: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    if not normal.read.any():
        raise InputError(f"none of the test videos could be read; the first is {normal.names[0]}")

    def accuracy(scores: VideoScores) -> dict[str, Any]:
        return clip_accuracy(scores.clip[scores.read], scores.label[scores.read], pairs)

    return {
        "clips": int(normal.read.sum()),
        "normal": accuracy(normal),
        "reversed": backwards and accuracy(backwards),
    }


def _write_scores(scores: VideoScores, path: Path) -> None:
    with atomic_write(path) as temporary:
        np.savez(
            temporary, names=np.array(scores.names), label=scores.label, clip=scores.clip,
            read=scores.read,
        )  # fmt: skip


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
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path}: is damaged; delete it and run again to recompute it") from error


def _step_seconds(path: Path) -> float:
    """The median time of a training step."""
    return float(np.median(np.genfromtxt(path, delimiter=",", names=True)["seconds"]))


@contextmanager
def _progress(
    runs: Sequence[Run], accelerator: Accelerator
) -> Iterator[Callable[[Run, float], None]]:
    """A bar over all runs; called with a run and the share of it that is done."""
    with tqdm(
        total=len(runs), unit=" runs", leave=False,
        disable=not runs or not accelerator.is_main_process,
        bar_format="{desc}{percentage:3.0f}%|{bar}| {n:.1f}/{total} runs "
        "[{elapsed}<{remaining}]",
    ) as bar:  # fmt: skip

        def show(run: Run, share: float) -> None:
            bar.set_description(f"{run.backbone} {run.streams} seed {run.seed}", refresh=False)
            bar.update(runs.index(run) + share - bar.n)

        yield show
