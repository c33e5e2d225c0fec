"""The command `actiontubes evaluate`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from ..datasets.errors import InputError
from ..datasets.file_options import FileOptions
from ..datasets.formats.registry import read_annotations
from ..datasets.storage.files import write_json
from ..detect.boxes.nms import nms
from ..detect.evaluation.align import AlignedTables, read_aligned
from ..detect.evaluation.bootstrap import NUM_RESAMPLES, add_intervals, resample_videos
from ..detect.evaluation.evaluate import (
    FRAME_THRESHOLDS,
    VIDEO_THRESHOLDS,
    Evaluation,
    evaluate_tables,
    require_unit,
)
from ..detect.evaluation.excluded_frames import leave_out_excluded
from ..detect.evaluation.person_metrics import person_scores, person_table
from ..detect.evaluation.protocols import PROTOCOLS, get_protocol
from ..detect.evaluation.score_thresholds import precision_recall_json, precision_recall_table
from ..detect.evaluation.summary import class_table, comparison_table, summary_table
from ..detect.linking.greedy import ACT, MOC
from .against import against_paths
from .arguments import Omit
from .overrides import override_protocol


def evaluate(
    *,
    ground_truth: Path,
    detections: Path | None = None,
    tubes: Path | None = None,
    split: int | None = None,
    videos: Path | None = None,
    protocol: str = "act",
    set: list[str] | None = None,
    frame_suppression: Literal["none", "act", "moc"] = "none",
    frame_iou: list[float] | None = None,
    video_iou: list[float] | None = None,
    annotations: Path | None = None,
    files: Annotated[FileOptions, Omit("person_class")],
    annotated_frames: Literal["all", "boxed"] | None = None,
    excluded: Path | None = None,
    json: Path | None = None,
    report: Path | None = None,
    media: Path | None = None,
    coco: Path | None = None,
    bootstrap: int | None = None,
    against: list[str] | None = None,
    precision_recall: float | None = None,
    persons: Path | None = None,
) -> None:
    """Compute frame-mAP and video-mAP of any method's detections and tubes.

    All numbers are in percent. The protocols, which give different numbers for the same boxes, are
    act (ACT, MOC; most published rows of JHMDB and UCF101-24), multisports (MultiSports, mmaction2,
    HIT, OpenMixer), road (Singh et al.), yowo (only frames with ground truth) and ava (key frames
    with ground truth; the classes that count are those of --classes, AVA's label map).

    Args:
        ground_truth: A table, a folder written by `actiontubes prepare`, JHMDB-GT.pkl or another
            ACT pickle, pyannot.pkl, finalAnnots.mat, or an AVA CSV file.
        detections: Boxes for frame-mAP: a table, a folder of ACT, MOC or YOWO files,
            frame_detections.pkl, COCO results JSON, or an AVA CSV file.
        tubes: Tubes for video-mAP: a table with tube_score, a folder of ACT or MOC files, or
            video_detections.pkl.
        split: Evaluate the test videos of this split, counted from 1.
        videos: Evaluate the videos listed in this file, one a line (such as testlist01.txt); class
            folder, extension and class number are optional.
        protocol: Evaluation rules; all prints the first four side by side.
        set: Change single rules of the protocol, such as tube_suppression=none
            frame_extent=continuous.
        frame_suppression: NMS of each frame and class before frame-mAP: act removes boxes with IoU
            above 0.3 with a better one; moc lowers their scores (above 0.6).
        frame_iou: IoU thresholds of frame-mAP. Default: 0.3 0.5 0.75.
        video_iou: IoU thresholds of video-mAP. Default: 0.1 0.2 0.3, and 0.5 to 0.95 in steps of
            0.05.
        annotations: COCO annotation file for COCO results. Default: annotations.json beside them.
        annotated_frames: Frames that were annotated: all, or only boxed ones, so that detections on
            the others do not count. Needed where tubes of the ground truth skip frames.
        excluded: AVA's file of excluded time stamps (rows of video and second), which do not count.
        json: Also write all numbers to this JSON file.
        report: Write an HTML report (index.html) to this folder.
        media: Folder with the videos or their frames, for the pictures of the report.
        coco: Also write COCO annotations and results to this folder, and print COCO's AP and AR.
        bootstrap: Add the 95 % confidence interval of every mAP over this many resamples of the
            videos; 1000 is usual.
        against: Detections or tubes of another method, or a folder that `detect` wrote, to compare
            with on the same resamples (--bootstrap, default 1000). Where the file does not say
            which it is, write detections=PATH or tubes=PATH.
        precision_recall: Print precision, recall and F1 by score threshold at this IoU, and the
            threshold to take.
        persons: A table with a column person (tubes, detections or tracks), to score by HOTA and
            IDF1 against the persons of the ground truth.
    """
    if coco is not None and detections is None:
        raise InputError("--coco: needs --detections")
    for name, thresholds in (("frame-iou", frame_iou), ("video-iou", video_iou)):
        for threshold in thresholds or ():
            if not 0 < threshold <= 1:
                raise InputError(f"--{name} {threshold}: must be greater than 0 and at most 1")
    rules = PROTOCOLS if protocol == "all" else [get_protocol(protocol)]
    chosen = [override_protocol(each, set) for each in rules]

    def read(source: Any, *paths: Path | None, persons: Path | None = None) -> AlignedTables:
        tables = read_aligned(
            source, *paths, persons=persons, split=split, videos=videos, annotations=annotations,
            files=files, annotated_frames=annotated_frames,
        )  # fmt: skip
        return tables if excluded is None else leave_out_excluded(tables, excluded)

    def score(tables: AlignedTables) -> list[Evaluation]:
        require_unit(tables, chosen)
        return evaluate_tables(
            tables.ground_truth, chosen, tables.detections, tables.tubes,
            frame_iou or FRAME_THRESHOLDS, video_iou or VIDEO_THRESHOLDS,
        )  # fmt: skip

    kinds = {"detections": detections, "tubes": tubes}
    paths = against_paths(against, [kind for kind, path in kinds.items() if path is not None])
    source = read_annotations(ground_truth, files) if paths else ground_truth
    tables = suppress(read(source, detections, tubes, persons=persons), frame_suppression)
    truth, boxes = tables.ground_truth, tables.detections
    results, others = score(tables), []
    if paths:
        other = read(source, paths.get("detections"), paths.get("tubes"))
        others = score(suppress(other, frame_suppression))
    if paths or bootstrap is not None:
        count = NUM_RESAMPLES if bootstrap is None else bootstrap
        draws = resample_videos(len(truth.video_names), count)
        results = add_intervals(results, draws, others)
    people = None if tables.persons is None else person_scores(truth, tables.persons)
    if len(results) == 1 and results[0].scores:
        print(class_table(results[0]), end="\n\n")
    if results[0].scores:
        print(summary_table(results))
    for each in results if paths else ():
        print(f"\n{comparison_table(each)}")
    objects = {each.protocol.name: each.as_json() for each in results}
    if precision_recall is not None:
        for each in results:
            print(f"\n{each.protocol.name}: {precision_recall_table(each, precision_recall)}")
            content = precision_recall_json(each, precision_recall)
            objects[each.protocol.name]["precision_recall"] = content
    if people is not None:
        print(f"\n{person_table(people)}")
        for content in objects.values():
            content["persons"] = people.as_json()
    if json is not None:
        content = objects if protocol == "all" else objects[results[0].protocol.name]
        write_json(content, json)
    if coco is not None and boxes is not None:
        from ..datasets.formats.coco import write_coco
        from ..detect.evaluation.coco_metrics import coco_scores

        write_coco(truth, boxes, coco / "results.json")
        for name, value in coco_scores(truth, boxes).items():
            print(f"COCO {name:8}" + ("-" if value is None else f"{value:8.2f}"))
    if report is not None:
        from ..detect.visualization.report import write_report

        others_read = {f"other {kind}": path for kind, path in paths.items()}
        files_read = {"ground truth": ground_truth, **kinds, **others_read}
        details = [
            ("command", shlex.join(["actiontubes", *sys.argv[1:]])),
            *((name, str(path)) for name, path in files_read.items() if path is not None),
            ("date", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")),
        ]
        page = write_report(
            report, truth, chosen, boxes, tables.tubes, media, tables.videos, details=details,
            runs=(results[0], others[0]) if others else None,
        )  # fmt: skip
        print(f"report: {page}")


def suppress(tables: AlignedTables, rules: Literal["none", "act", "moc"]) -> AlignedTables:
    """The tables after --frame-suppression."""
    if tables.detections is None or rules == "none":
        return tables
    linker = ACT if rules == "act" else MOC
    boxes = nms(tables.detections, linker.suppression, soft=linker.soft)
    return replace(tables, detections=boxes)
