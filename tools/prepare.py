"""The command `actiontubes prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from ..datasets.errors import InputError
from ..datasets.formats.prepare import prepare_jhmdb, prepare_ucf101_24, write_prepared
from ..datasets.video.media import locate_videos
from ..datasets.video.pack import pack_videos


def prepare(
    dataset: Literal["jhmdb", "ucf101-24"],
    *,
    root: Path,
    out: Path | None = None,
    boxes: Literal["masks", "joints"] = "masks",
    pack: Path | None = None,
    media: Path | None = None,
    short_side: int = 320,
) -> None:
    """Convert the official downloads of a data set into tables.

    Writes groundtruth.parquet, videos.parquet and splits/*.txt; then give the folder to `evaluate`
    or `train`. Missing videos and unexpected counts are reported; missing ground truth or split
    lists are an error, and nothing is written.

    Args:
        dataset: jhmdb or ucf101-24.
        root: Folder with the unpacked downloads. JHMDB: splits/ and puppet_mask/, or JHMDB-GT.pkl;
            videos in ReCompress_Videos/, Rename_Images/ or Frames/. UCF101-24: pyannot.pkl and
            testlist01.txt, or UCF101v2-GT.pkl; videos in UCF-101/ or rgb-images/.
        out: Output folder. Default: --root.
        boxes: JHMDB only: take boxes from the puppet masks or from the joints.
        pack: Also re-encode the videos into this folder, smaller and with every frame decodable by
            itself; training on them (`train --media`) reads much faster.
        media: Folder with the videos to pack. Default: the first of those folders in --root.
        short_side: Short side of packed videos in pixels; smaller videos keep their size.
    """
    if not root.is_dir():
        raise InputError(f"{root}: folder not found")
    prepared = prepare_jhmdb(root, boxes) if dataset == "jhmdb" else prepare_ucf101_24(root)
    for path, origin in prepared.missing:
        print(f"missing: {path} (download it from {origin})", file=sys.stderr)
    for remark in prepared.remarks:
        print(f"warning: {remark}", file=sys.stderr)
    for path in write_prepared(prepared, out or root):
        print(path)
    tubes, videos = prepared.ground_truth.tubes, prepared.ground_truth.videos
    assert videos is not None
    print(f"{len(videos)} videos, {len(tubes)} boxes")
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
