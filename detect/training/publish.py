"""A trained detector on the Hugging Face Hub, with a model card that is written from the run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.storage.files import file_digest
from ..inference.hub import CHECKPOINT, hub_errors
from ..model.checkpoint import CALIBRATION, load_detector, load_sections
from .state import DETECTOR, RESULTS, read_results

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
_NETWORK = ("backbone", "endpoint", "streams", "proposals", "head", "frames", "frame_step", "size")


def open_repository(repository: str) -> HfApi:
    """Makes a repository on the hub, private, if it is not there yet.

    Before a training, whose work is then not lost to a wrong name.

    Args:
        repository: OWNER/NAME.

    Returns:
        the hub, as the user who is logged in.

    Raises:
        InputError: the name is wrong, nobody is logged in, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id

    api = HfApi(library_name="actiontubes")
    with hub_errors(f"--push {repository}"):
        validate_repo_id(repository)
        api.create_repo(repository, private=True, exist_ok=True)
    return api


def push(
    repository: str, folder: Path, data: str, train_set: DetectionSet, test_set: DetectionSet
) -> str:
    """Uploads the best detector of a run, its results and a model card, in one commit.

    Args:
        repository: see `open_repository`.
        folder: of the run.
        data: what the card calls the data.
        train_set, test_set: the videos.

    Returns:
        the address of the commit.

    Raises:
        InputError: see `open_repository`; or the upload fails.
    """
    api = open_repository(repository)
    with tempfile.TemporaryDirectory() as temporary:
        for source, target in ((DETECTOR, CHECKPOINT), (RESULTS, RESULTS)):
            shutil.copyfile(folder / source, Path(temporary, target))
        card = write_card(repository, folder, data, train_set, test_set)
        Path(temporary, CARD).write_text(card, "utf-8")
        with hub_errors(f"--push {repository}"):
            commit = api.upload_folder(
                repo_id=repository, folder_path=temporary, commit_message="Trained detector"
            )
    return str(commit)


def write_card(
    repository: str, folder: Path, data: str, train_set: DetectionSet, test_set: DetectionSet
) -> str:
    """The model card of a run's best detector: its data, protocol, scores and calibration.

    Args:
        repository, folder, data, train_set, test_set: see `push`.

    Raises:
        InputError: the run has no detector yet, or it cannot be read.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    checkpoint, scores = folder / DETECTOR, read_results(folder)
    assert scores is not None
    config = load_detector(checkpoint).config
    names = {"frame_map": "frame-mAP", "video_map": "video-mAP"}
    results = [
        EvalResult(
            task_type="video-classification", task_name="spatio-temporal action detection",
            dataset_type="custom", dataset_name=data, metric_type=f"{title}@{iou}",
            metric_name=f"{title}@{iou} (protocol {scores['protocol']})", metric_value=value,
        )
        for key, title in names.items()
        for iou, value in scores[key].items()
        if value is not None
    ]  # fmt: skip
    name = repository.rpartition("/")[2]
    card_data = ModelCardData(
        library_name="actiontubes", pipeline_tag="video-classification", model_name=name,
        tags=["action-detection", "action-tubes"], eval_results=results,
    )  # fmt: skip
    template = files(__package__).joinpath("model_card.md.j2").read_text("utf-8")
    card = ModelCard.from_template(
        card_data, template_str=template, name=name, repository=repository,
        version=version("actiontubes"), data=data, labels=config.labels,
        train=_counts(train_set), test=_counts(test_set), scores=scores,
        frame_ious=_known(scores["frame_map"]), video_ious=_known(scores["video_map"]),
        calibration=load_sections(checkpoint).get(CALIBRATION),
        network={key: getattr(config, key) for key in _NETWORK}, digest=file_digest(checkpoint),
    )  # fmt: skip
    return card.content


def _known(scores: dict[str, Any]) -> Sequence[str]:
    return [iou for iou, value in scores.items() if value is not None]


def _counts(videos: DetectionSet) -> dict[str, int]:
    tubes = videos.tubes
    return {
        "videos": len(videos), "frames": int(videos.num_frames.sum()),
        "tubes": len(set(zip(tubes.video.tolist(), tubes.tube.tolist()))),
    }  # fmt: skip
