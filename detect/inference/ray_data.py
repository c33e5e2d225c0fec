"""Detection on a cluster: a Ray Data pipeline with one model an actor and videos as the unit.

Each video's tables are a partition, the folder OUT/videos/NAME, which gets its name when it is
complete (`resumable_run`). So a worker that dies leaves no half of a video, the next one begins
that video anew, and a run that is started again repeats nothing that is done.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from tqdm import tqdm

from ...datasets.errors import InputError, error_line
from .action_detector import ActionDetector
from .resumable_run import DrawOptions, Identity, VideoJob, is_done, process_videos
from .tubes.detector_tubes import TubeOptions
from .tubes.video_output import VideoSummary, WriteTables
from .video_input import open_video_file

_MAX_BLOCKS = 10_000  # Ray Data keeps a record of each; a block's videos run one after the other


@dataclass(frozen=True)
class WorkerTask:
    """What every worker does; it is sent to their machines, which share the folders that it names.

    Attributes:
        make_detector: loads the model onto the device of its keyword argument `device`.
        device: "auto" for a GPU where the cluster has one, "cuda" or "cpu".
        options: see `TubeOptions`.
        identity: of the run; a worker that would compute something else fails instead.
        drawing: see `process_videos`.
        folder: the current one, from which relative paths count.
        retries: how often a video is begun anew after its worker died, before it is given up.
    """

    make_detector: Callable[..., ActionDetector]
    device: str
    options: TubeOptions
    identity: Identity
    drawing: DrawOptions | None
    folder: Path
    retries: int = 3


def process_on_ray(
    jobs: Sequence[VideoJob],
    task: WorkerTask,
    *,
    workers: int | None = None,
) -> Iterator[tuple[VideoJob, VideoSummary | Exception | None]]:
    """Runs inference on videos on the workers of a Ray cluster, or of one started here.

    Args:
        jobs: videos; those with results are only drawn, if that is missing.
        task: see `WorkerTask`.
        workers: number of models; None is one for each GPU of the cluster, or for two processors.

    Yields:
        each video once, as it is done; see `process_videos`.

    Raises:
        InputError: Ray is not installed, or the cluster is too small.
    """
    try:
        import ray
        from ray import data as ray_data
    except ImportError as error:
        raise InputError(
            "--engine ray: needs Ray; `pip install 'actiontubes[ray]'`, or leave the option out"
        ) from error
    if not jobs:
        return
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no request to other hosts
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    context = ray_data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a video that kills its workers does not stop the others
    worker: Any = _Worker  # Ray Data makes it an actor
    count, resources = plan_workers(ray.cluster_resources(), workers, task.device)
    rows = [{"number": i, "job": pickle.dumps(_absolute(job))} for i, job in enumerate(jobs)]
    results = ray_data.from_items(rows, override_num_blocks=min(len(rows), _MAX_BLOCKS)).map(
        worker, fn_constructor_args=(task,), num_cpus=resources["CPU"], num_gpus=resources["GPU"],
        compute=ray_data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1),
    )  # fmt: skip
    missing = dict(enumerate(jobs))
    with tqdm(desc="videos", total=len(jobs), unit=" videos", leave=False) as bar:
        for row in results.iter_rows():
            bar.update()
            for message in json.loads(row["warnings"]):
                warnings.warn(message, stacklevel=2)
            yield missing.pop(row["number"]), _result(row)
    for job in missing.values():
        yield job, InputError(f"{job.shown}: no worker returned it; run the command again")


def plan_workers(
    cluster: Mapping[str, float], workers: int | None, device: str
) -> tuple[int, dict[str, float]]:
    """The number of workers, and what each takes of the cluster.

    Args:
        cluster: its resources, "CPU" and "GPU".
        workers: see `process_on_ray`.
        device: see `WorkerTask`.

    Raises:
        InputError: there are fewer processors than workers, or no GPU for `device` "cuda".
    """
    cpus = int(cluster.get("CPU", 0))
    gpus = 0 if device == "cpu" else int(cluster.get("GPU", 0))
    if device == "cuda" and not gpus:
        raise InputError("--device cuda: the cluster has no GPU; leave the option out")
    count = workers or gpus or max(1, cpus // 2)
    if count > cpus:
        raise InputError(
            f"--workers {count}: the cluster has {cpus} processors; give at most as many"
        )
    return count, {"CPU": cpus // count, "GPU": 1 / math.ceil(count / gpus) if gpus else 0}


class _Worker:
    """An actor: loads its model once, then runs one video after the other."""

    def __init__(self, task: WorkerTask) -> None:
        from ...backbones.memory import keep_freed_memory
        from .device import choose_device

        os.chdir(task.folder)
        keep_freed_memory()
        self._task = task
        self._detector = task.make_detector(device=choose_device(task.device))
        own = json.dumps(self._detector.identity(task.options), sort_keys=True)
        self._fits = own == json.dumps(task.identity, sort_keys=True)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        # A folder of its own for each try: a worker that only seems dead may still write.
        job: VideoJob = replace(pickle.loads(row["job"]), attempt=uuid4().hex)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            result = self._process(job)
        messages = [str(each.message) for each in caught if each.category is UserWarning]
        return {
            "number": row["number"],
            "summary": json.dumps(asdict(result)) if isinstance(result, VideoSummary) else "",
            "error": error_line(result) if isinstance(result, Exception) else "",
            "warnings": json.dumps(messages),
        }

    def _process(self, job: VideoJob) -> VideoSummary | Exception | None:
        """Runs a video, unless as many workers died of it as may: Ray would try it for ever."""
        tries = job.unfinished.parent
        died = len(list(tries.iterdir())) if tries.is_dir() else 0
        if died > self._task.retries:
            return InputError(
                f"{job.shown}: {died} workers died of it, perhaps for want of memory; run again "
                "with fewer --workers, or without the video"
            )
        if not is_done(job, self._task.drawing):
            job.unfinished.mkdir(parents=True)  # stays if this process dies
        [(_, result)] = process_videos([job], self._open, self._task.identity, self._task.drawing)
        shutil.rmtree(tries, ignore_errors=True)
        return result

    def _open(self, path: Path, name: str) -> AbstractContextManager[WriteTables]:
        if not self._fits:
            raise InputError(
                "this worker's machine would compute in another precision or with other files "
                "than the one that started the run; give --precision, and the same files"
            )
        return self._detector.open(open_video_file(path, name), self._task.options, progress=False)


def _absolute(job: VideoJob) -> VideoJob:
    """The job for a process with another current folder."""
    path = job.path if job.remote else job.path.absolute()
    return replace(job, path=path, folder=job.folder.absolute(), drawn=job.drawn.absolute())


def _result(row: Mapping[str, Any]) -> VideoSummary | Exception | None:
    if row["error"]:
        return InputError(row["error"])
    if not row["summary"]:
        return None
    values = json.loads(row["summary"])
    return VideoSummary(**values | {"best": tuple(values["best"])})
