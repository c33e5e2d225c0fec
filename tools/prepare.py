"""The command `actiontubes prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from ..datasets.files import InputError
from ..datasets.media import find_media
from ..datasets.packing import pack_videos
from ..datasets.prepare import prepare_jhmdb, prepare_ucf101_24, write_prepared


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
    """Turn a data set's official downloads into tables.

    Writes groundtruth.parquet, videos.parquet and splits/*.txt, which evaluate and train read by
    the folder's name. Missing pictures and counts that differ from the known totals are named;
    missing ground truth or lists are an error, and nothing is written.

    Args:
        dataset: Which data set.
        root: The folder with the downloads, as they unpack. JHMDB: splits and puppet_mask, or
            JHMDB-GT.pkl; ReCompress_Videos, Rename_Images or Frames. UCF101-24: pyannot.pkl and
            testlist01.txt, or UCF101v2-GT.pkl; UCF-101 or rgb-images.
        out: The folder to write to (default: the root).
        boxes: JHMDB's boxes from its puppet masks or from its joints.
        pack: A folder to write the videos to once more, smaller and with every frame by itself,
            which speeds up training; then give it to train as its media.
        media: The folder of the videos to pack (default: the root).
        short_side: Of packed videos, in pixels; smaller videos keep their size.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    prepared = prepare_jhmdb(root, boxes) if dataset == "jhmdb" else prepare_ucf101_24(root)
    for path, origin in prepared.missing:
        print(f"missing: {path} (download it from {origin})", file=sys.stderr)
    for remark in prepared.remarks:
        print(f"warning: {remark}", file=sys.stderr)
    for path in write_prepared(prepared, out or root):
        print(path)
    print(f"{len(prepared.videos)} videos, {len(prepared.tubes)} boxes")
    if pack is not None:
        found = find_media(media or root, prepared.videos.video)
        if len(found) < len(prepared.videos):
            print(
                f"warning: {media or root}: {len(prepared.videos) - len(found)} of "
                f"{len(prepared.videos)} videos were not found and are not packed",
                file=sys.stderr,
            )
        pack_videos(found, pack, short_side=short_side)
        print(f"{pack}: {len(found)} videos")
