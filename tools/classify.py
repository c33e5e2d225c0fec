"""The command `actiontubes classify`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ..datasets.clips.options import ClassificationData, CropConfig
from ..datasets.errors import InputError
from ..datasets.options import at_least
from ..datasets.storage.files import write_json
from ..detect.training.options import ClassifierOptions, RunOptions, Schedule, split_folders
from .arguments import Omit

if TYPE_CHECKING:
    from ..datasets.clips.classification_set import ClassificationSet

# Six clips on each GPU, with little weight decay (paper).
_SCHEDULE = Schedule(batch=6, weight_decay=1e-7)


def classify(
    *,
    data: ClassificationData,
    out: Path = Path("classified"),
    network: ClassifierOptions,
    crops: CropConfig,
    flow_method: Literal["tvl1", "dis"] = "tvl1",
    fuse: str | None = None,
    class_map: str | None = None,
    reverse: bool = False,
    clips_only: bool = False,
    steps: Annotated[int, at_least(0)] = 10_000,
    schedule: Annotated[Schedule, Omit("steps")] = _SCHEDULE,
    run: RunOptions,
) -> None:
    """Train a network that classifies whole videos, and test it; --steps 0 only tests its weights.

    On several GPUs or machines: accelerate launch -m actiontubes.tools.main classify ... Writes to
    OUT: classifier.safetensors (the best so far by top-1 of the middle clips, for `actiontubes
    train --weights`) with its results.json (top-1 and top-5 in percent, of the middle clip and of
    all frames of each video) and predictions.csv, each video's five best classes; last.safetensors,
    state.pt (for --resume, also after Ctrl-C), losses.csv and evaluations.csv.

    Args:
        out: Output folder; with several --splits, one subfolder for each.
        flow_method: tvl1 (as in the paper) or dis (faster).
        fuse: With --steps 0: a second classifier on the other stream; the logits of both are
            averaged.
        class_map: With --steps 0: maps each label of the data to the classifier's classes: a CSV
            file with the columns label and class, or ucf101-24 or jhmdb for Kinetics-400
            classifiers.
        reverse: Test on videos played backwards.
        clips_only: Test only the middle clip of each video, not all of its frames.
        steps: Optimizer steps; 0 tests the weights without training.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.class_list import expand_labels
    from ..datasets.clips.classification_set import open_classification_set
    from ..detect.evaluation.classification import read_class_map
    from ..detect.inference.classify import RESULTS, ClassifierTest, score_classifier
    from ..detect.inference.device import choose_device, choose_precision, explain_precision
    from ..detect.training.classifier import (
        format_accuracies,
        mean_result,
        new_classifier,
        pretrained_classifier,
        train_and_test,
    )
    from ..detect.training.state import check_folder

    if class_map is not None and steps:
        raise InputError(
            "--class-map: works only with --steps 0; training uses the classes of the data"
        )
    if fuse is not None and steps:
        raise InputError(
            "--fuse: works only with --steps 0; train the RGB and the flow classifier separately "
            "first"
        )
    if reverse and (network.streams == "flow" or fuse is not None):
        raise InputError(
            "--reverse: works on RGB only, because reversed video has different flow; leave out "
            "--streams flow and --fuse"
        )
    if steps and network.norm == "frozen" and network.weights is None:
        raise InputError(
            "--norm frozen: needs pretrained weights; give --weights, or use --norm batch"
        )
    test = ClassifierTest(
        frames=crops.frames, size=crops.size, whole=not clips_only, backwards=reverse,
        class_map=read_class_map(class_map) if class_map else None, flow_method=flow_method,
        workers=run.workers,
    )  # fmt: skip
    keep_freed_memory()
    device = choose_device(run.device)
    chooses = run.precision == "auto" and not steps
    if chooses:  # as without gradients
        run = replace(run, precision=choose_precision("auto", device))
    accelerator = run.accelerator(out)
    labels = expand_labels(data.labels)

    def open_part(part: Literal["train", "test"], split: int) -> ClassificationSet:
        return open_classification_set(
            data.data, part, media=data.media, test_data=data.test_data, split=split,
            labels=labels, allow_missing=data.allow_missing,
        )  # fmt: skip

    # All splits are opened before the first is trained on, so that errors come early.
    folders = split_folders(out, data.splits)
    test_sets = {split: open_part("test", split) for split in folders}
    train_sets = {split: open_part("train", split) for split in folders if steps}
    results = []
    if steps:
        schedule = replace(schedule, steps=steps)
        for folder in folders.values():
            check_folder(folder, resume=run.resume)
        for split, videos in train_sets.items():
            with run.lock(folders[split]):
                _, result = train_and_test(
                    new_classifier(network, videos.labels, seed=run.seed), videos,
                    test_sets[split], folders[split], network=network, crops=crops, test=test,
                    schedule=schedule, run=run,
                )  # fmt: skip
            results.append(result)
    else:
        backbone = network.backbone
        model = pretrained_classifier(backbone, network.weights, network.channels_in)
        other = fuse and pretrained_classifier(
            backbone, fuse, 3 if network.streams == "flow" else 2
        )
        if chooses and accelerator.is_main_process:
            print(explain_precision(device), file=sys.stderr)
        for split, folder in folders.items():
            with run.lock(folder):
                tested = score_classifier(
                    model, test_sets[split], test, accelerator, other=other or None
                )
                if accelerator.is_main_process:
                    tested.save(folder)
            results.append(tested.accuracies)
    if not accelerator.is_main_process:
        return
    mean = mean_result(results)
    if len(results) > 1:
        write_json(mean | {"splits": list(folders)}, out / RESULTS)
    print(f"{out}: {format_accuracies(mean)}")
    if steps:
        checkpoint = next(iter(sorted(out.rglob("classifier.safetensors"))))
        print(f"actiontubes train --backbone {network.backbone} --weights {checkpoint} ...")
