"""The command `actiontubes prepare`."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from ..datasets.errors import InputError, refuse_options
from ..datasets.file_options import FileOptions
from ..datasets.formats.exchange.ava_set import read_ava_folder
from ..datasets.formats.prepare import (
    Prepared,
    prepare_jhmdb,
    prepare_ucf101_24,
    write_prepared,
)
from ..datasets.video.media import locate_videos
from ..datasets.video.pack import pack_videos
from .arguments import Omit


def prepare(
    dataset: Literal["jhmdb", "ucf101-24", "ava", "custom"],
    *,
    root: Path,
    out: Path | None = None,
    preview: bool = False,
    boxes: Literal["masks", "joints", "pixel", "fraction"] | None = None,
    pack: Path | None = None,
    media: Path | None = None,
    short_side: int = 320,
    files: Annotated[FileOptions, Omit("box_unit", "person_class")],
) -> None:
    """Convert the official downloads of a data set into tables, or check a data set of your own.

    Writes groundtruth.parquet, videos.parquet and splits/*.txt; then give the folder to `evaluate`
    or `train`. Missing videos and unexpected counts are reported; missing ground truth or split
    lists are an error, and nothing is written. For custom it says what is in the data set: videos,
    persons, stretches and seconds of each class, sizes of boxes, and what is left out and why; it
    writes tables only with --out.

    Args:
        dataset: jhmdb, ucf101-24, ava or custom.
        root: Folder with the unpacked downloads. JHMDB: splits/ and puppet_mask/, or JHMDB-GT.pkl;
            videos in ReCompress_Videos/, Rename_Images/ or Frames/. UCF101-24: pyannot.pkl and
            testlist01.txt, or UCF101v2-GT.pkl; videos in UCF-101/ or rgb-images/. AVA:
            ava_train_v2.2.csv, ava_val_v2.2.csv, the label map of the classes that count (.pbtxt),
            and the videos or videos.csv. Custom: whatever `train --data` takes, such as a folder
            with CVAT's zip files and videos, or one file beside its videos.
        out: Output folder. Default: --root.
        preview: Also write a page of sample frames with their boxes (preview/index.html).
        boxes: JHMDB: take boxes from the puppet masks (the default) or from the joints. Custom: the
            unit of the boxes in the files, pixel or fraction of the frame, where their numbers do
            not show it.
        pack: Also re-encode the videos into this folder, smaller and with every frame decodable by
            itself; training on them (`train --media`) reads much faster.
        media: Folder with the videos. Default: the first of those folders in --root.
        short_side: Short side of packed videos in pixels; smaller videos keep their size.
    """
    if not (root.is_dir() or (dataset == "custom" and root.is_file())):
        raise InputError(f"{root}: folder not found")
    folder = out or (root if root.is_dir() else root.parent)
    if boxes == "pixel" or boxes == "fraction":
        files, boxes = replace(files, box_unit=boxes), None
    if dataset == "custom":
        refuse_options("works only with the data sets that are downloaded", pack=pack)
        _check(root, media, files, out, folder / "preview" if preview else None)
        return
    if dataset == "ava":
        prepared = Prepared(read_ava_folder(root, media), [], [], media or root)
    elif dataset == "jhmdb":
        prepared = prepare_jhmdb(root, boxes or "masks")
    else:
        prepared = prepare_ucf101_24(root)
    for path, origin in prepared.missing:
        print(f"missing: {path} (download it from {origin})", file=sys.stderr)
    for remark in prepared.remarks:
        print(f"warning: {remark}", file=sys.stderr)
    for path in write_prepared(prepared, folder):
        print(path)
    tubes, videos = prepared.ground_truth.tubes, prepared.ground_truth.videos
    assert videos is not None
    print(f"{len(videos)} videos, {len(tubes)} boxes")
    if preview:
        _check(folder, media or prepared.media, files, None, folder / "preview")
    if pack is not None:
        found = locate_videos(media or prepared.media, videos.video, skip=pack)
        if len(found) < len(videos):
            print(
                f"warning: {media or prepared.media}: {len(videos) - len(found)} of {len(videos)} "
                f"videos were not found and are not packed",
                file=sys.stderr,
            )
        pack_videos(found, pack, short_side=short_side)
        print(f"{pack}: {len(found)} videos")


def _check(
    root: Path, media: Path | None, files: FileOptions, out: Path | None, preview: Path | None
) -> None:
    """Opens a data set as `train` does, and says what is in it."""
    from ..datasets.clips.dataset_summary import summarize_sets
    from ..datasets.clips.detection_set import open_detection_sets

    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        train, test = open_detection_sets(root, media=media, files=files)
        lines = summarize_sets(train, test)
    remarks = list(dict.fromkeys(" ".join(str(each.message).split()) for each in noticed))
    lines += [""] * bool(remarks) + [f"noticed: {remark}" for remark in remarks]
    print("\n".join(lines))
    if out is not None:
        from ..datasets.formats.exchange.convert import convert_annotations, read_for_conversion

        for line in convert_annotations(
            read_for_conversion(root, None, files), "table", out, media
        ):
            print(line)
    if preview is not None:
        from ..detect.visualization.preview import write_preview

        sets = [train] if train.names == test.names else [train, test]
        print(f"preview: {write_preview(preview, sets, root.name, lines)}")
