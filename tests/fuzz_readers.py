"""The readers that fuzz.py tries: for each, small valid files, and how they are read."""

from __future__ import annotations

import atexit
import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

OLD_FILES = Path(__file__).parent / "files" / "v0.1"
LABELS = ("Basketball", "Biking", "Diving")
VIDEOS = ("Basketball/a", "Biking/b")
BOXES = [(number, 10.0 + number, 12.0, 40.0 + number, 60.0) for number in range(1, 6)]


@dataclass(frozen=True)
class Reader:
    """What reads some files.

    Attributes:
        make: writes valid files into an empty folder.
        read: reads them from there; the value of a table is checked afterwards.
        weight: how often it is tried, compared with a table.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    weight: float = 1.0


def check_value(value: Any) -> None:
    """Asserts what holds for every table: whole boxes, frames, codes and scores."""
    if isinstance(value, (list, tuple)):
        for each in value:
            check_value(each)
    if not is_dataclass(value):
        return
    columns = {field.name: getattr(value, field.name) for field in fields(value)}
    for name, column in columns.items():
        if not isinstance(column, np.ndarray):
            check_value(column)
            continue
        assert column.dtype.kind != "f" or name == "fps" or np.isfinite(column).all(), name
        if name == "boxes" and column.size:
            assert (column[..., :2] <= column[..., 2:]).all(), name
        if name in ("frame", "width", "height", "num_frames"):
            assert (column >= 0).all(), name
        if f"{name}_names" in columns and column.size:
            assert 0 <= column.min() <= column.max() < len(columns[f"{name}_names"]), name


def _write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def _tables(folder: Path) -> None:
    boxes = [",".join(map(str, box)) for box in BOXES]
    for name, end, columns in (
        ("tubes", ",7,0.5,0.6", "tube,score,tube_score"), ("detections", ",0.5", "score"),
        ("groundtruth", ",7", "tube"),
    ):  # fmt: skip
        rows = (f"{video},{box},{video.split('/')[0]}{end}" for video in VIDEOS for box in boxes)
        _write(folder / f"{name}.csv", f"video,frame,x1,y1,x2,y2,label,{columns}", *rows)
    sizes = (f"{video},48,160,120,25,{part}" for video, part in zip(VIDEOS, ("train", "test")))
    _write(folder / "videos.csv", "video,num_frames,width,height,fps,split", *sizes)
    for part, video in zip(("train1", "test1"), VIDEOS):
        _write(folder / "splits" / f"{part}.txt", video)


def _parquet_tables(folder: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet as pq

    _tables(folder)
    for path in list(folder.glob("*.csv")):
        pq.write_table(pyarrow.csv.read_csv(path), path.with_suffix(".parquet"))
        path.unlink()
    shutil.rmtree(folder / "splits")


def _read_tables(folder: Path) -> Any:
    from actiontubes.datasets.formats import registry

    extension = next(folder.glob("detections.*")).suffix
    paths = {name: folder / f"{name}{extension}" for name in ("detections", "tubes", "videos")}
    values = [_attempt(lambda k=kind: registry.read(paths[k], k)) for kind in paths]  # type: ignore[misc]
    return [*values, registry.read_ground_truth(folder), registry.read(paths["tubes"])]


def _attempt(read: Callable[[], Any]) -> Any:
    """The value, or None where it is refused: so that what comes after is read, too."""
    from actiontubes.datasets.errors import InputError

    try:
        return read()
    except InputError as error:
        assert "\n" not in str(error), f"message {str(error)[:300]!r}"
        return None


def _ground_truth(folder: Path) -> Any:
    from actiontubes.datasets.class_list import ClassList
    from actiontubes.datasets.formats.annotation_format import GroundTruth
    from actiontubes.datasets.tables import make_videos, tubes_from_rows

    rows = np.array(BOXES)
    tubes = tubes_from_rows([(0, 0, rows, None), (1, 1, rows, None)], VIDEOS, LABELS)
    videos = make_videos(VIDEOS, [48, 48], 160, 120)
    return GroundTruth(
        path=folder, tubes=tubes, videos=videos, classes=ClassList(LABELS), videos_in_order=True
    )


def _formats(read: str, *names: str) -> Callable[[Path], Any]:
    """Reads files or folders (".") by the function of that name of the registry."""

    def call(folder: Path) -> Any:
        from actiontubes.datasets.formats import registry

        function = getattr(registry, read)
        further = () if read == "read_ground_truth" else (_ground_truth(folder),)
        return [function(folder / name, *further) for name in names]

    return call


def _act(folder: Path) -> None:
    tube = np.array(BOXES)
    truth = {
        "labels": list(LABELS),
        "gttubes": {video: {code: [tube]} for code, video in enumerate(VIDEOS)},
        "nframes": dict.fromkeys(VIDEOS, 48), "resolution": dict.fromkeys(VIDEOS, (120, 160)),
        "test_videos": [[VIDEOS[1]]], "train_videos": [[VIDEOS[0]]],
    }  # fmt: skip
    _dump(folder / "gt.pkl", truth)


def _act_detections(folder: Path) -> None:
    rows = [(0, box[0], 0, 0.5, *box[1:]) for box in BOXES]
    _dump(folder / "frame_detections.pkl", np.array(rows))


def _act_tubes(folder: Path) -> None:
    tube = np.array([(*box, 0.5) for box in BOXES])
    for video in VIDEOS:
        _dump(folder / "built" / f"{video}_tubes.pkl", {0: [(tube, 0.5)], 1: []})
    _dump(folder / "video_detections.pkl", {0: [(VIDEOS[0], 0.5, tube)]})


def _tubelets(folder: Path) -> None:
    row = [0.0, 0.5, *[10.0, 12.0, 40.0, 60.0] * 3]
    for frame in (1, 2):
        for video in VIDEOS:
            act = (np.array([row]), np.array([row]))
            moc = {1: np.array([[*row[2:], 0.5]]), 2: np.empty((0, 13))}
            _dump(folder / "act" / video / f"{frame:05d}.pkl", act)
            _dump(folder / "moc" / video / f"{frame:05d}.pkl", moc)


def _pyannot(folder: Path) -> None:
    boxes = np.array([[10, 12, 30, 48]] * 5, np.uint8)
    content = {
        video: {"numf": 48, "label": code,
                "annotations": [{"sf": 2, "ef": 7, "label": code, "boxes": boxes}]}
        for code, video in zip((0, 2), VIDEOS)
    }  # fmt: skip
    _dump(folder / "pyannot.pkl", content)
    _write(folder / "testlist01.txt", f"{VIDEOS[1]}.avi")
    _write(folder / "trainlist01.txt", f"{VIDEOS[0]}.avi 1")


def _final_annots(folder: Path) -> None:
    from scipy.io import savemat

    boxes = np.array([[10, 12, 30, 48]] * 5, np.uint16)
    entries = [
        {"name": video, "num_imgs": 48, "tubes": {"sf": 3, "ef": 7, "class": code, "boxes": boxes}}
        for code, video in zip((1, 3), VIDEOS)
    ]
    savemat(folder / "finalAnnots.mat", {"annot": entries})
    savemat(folder / "packed.mat", {"annot": entries}, do_compression=True)


@cache
def _process(read: Callable[..., Any]) -> Any:
    """One process for all files: to start one for each would take most of the time."""
    from actiontubes.datasets.storage.files import EXTRA_MEMORY
    from actiontubes.datasets.storage.isolated import isolated_reader

    reader = isolated_reader(read, memory=EXTRA_MEMORY // 2, copies=4)
    atexit.register(reader.__exit__, None, None, None)
    return reader.__enter__()


def _read_matlab(folder: Path) -> Any:
    from actiontubes.datasets.formats import jhmdb, registry, ucf101_24
    from actiontubes.datasets.formats.matlab import read_variable

    ucf101_24.load_matlab = _process(read_variable)
    jhmdb.isolated_reader = lambda read: nullcontext(_process(read))
    if (folder / "splits").is_dir():
        return registry.read_ground_truth(folder)
    read = registry.read_ground_truth
    return [_attempt(lambda: read(folder / "finalAnnots.mat")), read(folder / "packed.mat")]


def _jhmdb(folder: Path) -> None:
    from actiontubes.datasets.formats.jhmdb import CLASSES
    from scipy.io import savemat

    for name in CLASSES:
        for number in (1, 2, 3):
            words = ("a.avi 1", "b.avi 2") if name == "run" else ()
            _write(folder / "splits" / f"{name}_test_split{number}.txt", *words)
    masks = np.zeros((12, 16, 3), np.uint8)
    masks[3:9, 4:8] = 1
    for video in "ab":
        inside = folder / "puppet_mask" / "run" / video
        inside.mkdir(parents=True)
        savemat(inside / "puppet_mask.mat", {"part_mask": masks}, do_compression=video == "a")


def _coco(folder: Path) -> None:
    images = [
        {"id": number, "file_name": f"{video}/0000{number}.jpg", "width": 160, "height": 120}
        for number, video in enumerate(VIDEOS, 1)
    ]
    classes = [{"id": number, "name": name} for number, name in enumerate(LABELS, 1)]
    results = [
        {"image_id": 1, "category_id": 2, "bbox": [10, 12, 30, 48.5], "score": 0.5},
        {"image_id": 2, "category_id": 1, "bbox": [10, 12, 30, 48], "score": 1},
    ]
    about = {"images": images, "annotations": [], "categories": classes}
    (folder / "annotations.json").write_text(json.dumps(about))
    (folder / "results.json").write_text(json.dumps(results))


def _converted(folder: Path, *names: tuple[str, str]) -> None:
    """Tubes of persons in other formats: (the key in FORMATS, the file)."""
    from actiontubes.datasets.formats.registry import FORMATS
    from actiontubes.datasets.tables import Tubes, make_videos

    count = len(BOXES)
    tubes = Tubes(
        video=np.repeat(np.arange(2, dtype=np.int32), count),
        frame=np.tile(np.arange(count, dtype=np.int32), 2),
        label=np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 2], np.int32),
        boxes=np.tile([box[1:] for box in BOXES], (2, 1)),
        tube=np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 2]), person=np.ones(2 * count, np.int32),
        video_names=VIDEOS, label_names=LABELS,
    )  # fmt: skip
    for key, name in names:
        FORMATS[key].write(tubes, make_videos(VIDEOS, 48, 160, 120, 25), folder / name)


def _cvat(folder: Path) -> None:
    _converted(folder, ("cvat", "task.xml"), ("cvat", "task.zip"))


def _mot(folder: Path) -> None:
    _converted(folder, ("mot", "mot"))


def _coco_video(folder: Path) -> None:
    _converted(folder, ("coco", "video.json"))


def _ava(folder: Path) -> None:
    rows = [f"v{video},{900 + second},0.1,0.2,0.5,0.75,{action}" for video in "ab"
            for second in range(3) for action in (1, 12)]  # fmt: skip
    _write(folder / "truth.csv", *(f"{row},0" for row in rows))
    _write(folder / "found.csv", *(f"{row},0.5" for row in rows))


def _read_ava(folder: Path) -> Any:
    from actiontubes.datasets.formats import registry

    found = _attempt(lambda: registry.read_detections(folder / "found.csv"))
    return [found, registry.read_ground_truth(folder / "truth.csv")]


def _yowo(folder: Path) -> None:
    for video in VIDEOS:
        _write(
            folder / f"{video.replace('/', '_')}_00003.txt", "1 0.5 10 12 40 60", "2 .25 1 2 3 4"
        )


def _lists(folder: Path) -> None:
    _write(folder / "kinetics.csv", "label,youtube_id,time_start,time_end,split",
           "jump,abcdefghijk,10,20,train", '"throw, far",bcdefghijkl,3,13,test')  # fmt: skip
    _write(folder / "plain.txt", "a/b.mp4 jump", "c/d.mp4 run")
    _write(folder / "v1.csv", "1;Doing something", "2;Moving a cup")
    v2 = [{"id": "1", "label": "moving a cup", "template": "Moving [something]"}]
    (folder / "v2.json").write_text(json.dumps(v2))
    ucf = folder / "ucf"
    _write(ucf / "classInd.txt", "1 Jump", "2 Run")
    _write(ucf / "trainlist01.txt", "Jump/v_a.avi 1", "Run/v_b.avi 2")
    _write(ucf / "testlist01.txt", "Jump/v_c.avi", "Run/v_d.avi")
    _write(folder / "hmdb" / "run_test_split1.txt", "a.avi 1", "b.avi 2")
    _write(folder / "map.csv", "label,class", "jump,high jump", "run,running")
    _write(folder / "videos.txt", "a.mp4", "# none", "sub/b.avi")
    _write(folder / "names.txt", "1 jump", "2 high jump")
    _write(folder / "names.csv", "id,name", "1,jump", "2,run")
    _write(folder / "names.yaml", "nc: 2", "names:", "  0: jump", "  1: 'run'")
    names = {"categories": [{"id": 1, "name": "jump"}, {"id": 3, "name": "run"}]}
    (folder / "names.json").write_text(json.dumps(names))
    _write(folder / "names.pbtxt", "item {", '  name: "jump"', "  id: 1", "}",
           "item {", '  name: "run (fast)"', "  id: 12", "}")  # fmt: skip


def _read_lists(folder: Path) -> Any:
    from actiontubes.datasets.class_list import read_class_list
    from actiontubes.datasets.formats.classification_lists import read_lists
    from actiontubes.datasets.video.find import expand_video_paths
    from actiontubes.datasets.video_names import match_videos, read_video_list
    from actiontubes.detect.evaluation.classification import read_class_map

    places = ("kinetics.csv", "plain.txt", "v1.csv", "v2.json", "ucf", "hmdb")
    for name in places:
        _attempt(lambda name=name: read_lists(folder / name))  # type: ignore[misc]
    for path in folder.glob("names.*"):
        _attempt(lambda path=path: read_class_list(path))  # type: ignore[misc]
    _attempt(lambda: read_class_map(str(folder / "map.csv")))
    _attempt(lambda: expand_video_paths([folder / "videos.txt"]))
    _attempt(lambda: match_videos(read_video_list(folder / "videos.txt"), ["a", "sub/b"]))


def _recipes(folder: Path) -> None:
    shutil.copy(OLD_FILES / "train.yaml", folder / "train.yaml")
    recipes = Path(__file__).parents[1] / "tools" / "recipes"
    shutil.copy(recipes / "custom.yaml", folder / "custom.yaml")


def _read_recipes(folder: Path) -> None:
    from actiontubes.tools.arguments import parse_arguments
    from actiontubes.tools.train import train

    words = ["--data", "x", "--out", "y", "--config"]
    _attempt(lambda: parse_arguments(train, "train", [*words, str(folder / "train.yaml")]))
    parse_arguments(train, "train", [*words, str(folder / "custom.yaml")])


def _checkpoint(folder: Path) -> None:
    shutil.copy(OLD_FILES / "run" / "detector.safetensors", folder / "detector.safetensors")


def _read_checkpoint(folder: Path) -> None:
    from actiontubes.detect.model.checkpoint import is_detector, load_detector, load_sections

    path = folder / "detector.safetensors"
    is_detector(path)
    _attempt(lambda: load_sections(path))
    load_detector(path)


def _weights(folder: Path) -> None:
    import torch

    shutil.copy(OLD_FILES / "classifier.safetensors", folder / "own.safetensors")
    state = {"conv.weight": torch.rand(4, 3, 1, 1), "conv.bias": torch.rand(4).half()}
    torch.save({"state_dict": state, "epoch": 3}, folder / "new.pt")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)


def _read_weights(folder: Path) -> None:
    from actiontubes.backbones.family import get_variant
    from actiontubes.backbones.weights.load import load_file, load_state_dict

    _attempt(lambda: load_state_dict(folder / "new.pt"))
    _attempt(lambda: load_state_dict(folder / "old.pth"))
    load_file(folder / "own.safetensors", get_variant("i2d"))


def _state(folder: Path) -> None:
    import torch

    model = _model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(1, 3)).sum().backward()
    optimizer.step()
    state = {"step": 3, "model": model.state_dict(), "averaged": model.state_dict(),
             "optimizer": optimizer.state_dict(), "scaler": None,
             "settings": {"seed": 0, "labels": ["a"]}, "options": {"steps": 5}}  # fmt: skip
    torch.save(state, folder / "state.pt")
    _write(folder / "losses.csv", "step,lr,loss,seconds,waited", "0,0.1,2.5,1,0", "1,0.1,2,1,0")


def _model() -> Any:
    import torch

    return torch.nn.Linear(3, 2)


def _read_state(folder: Path) -> None:
    import torch
    from actiontubes.detect.training.state import load_state, rows_before

    rows_before(folder / "losses.csv", 2)
    task: Any = SimpleNamespace(model=_model(), identity={"seed": 0, "labels": ["a"]})
    optimizer = torch.optim.AdamW(task.model.parameters())
    options = {"steps": 5, "decay": "none"}
    load_state(folder / "state.pt", task, _model(), optimizer, None, options, resume=True)


def _results(folder: Path) -> None:
    from actiontubes.datasets.table_io import read_table, write_table
    from actiontubes.datasets.tables import Tracks, Tubes

    for path in (OLD_FILES / "found").iterdir():
        shutil.copy(path, folder / path.name)
    header = "video,person,label,start,end,first_frame,last_frame,score"
    for name in ("labels.csv", "actions.csv"):
        _write(folder / name, header, "train_000,1,jump,0,0.4,0,9,0.5")
    tubes = read_table(Tubes, folder / "tubes.parquet")
    score = np.full(len(tubes), 0.5)
    names = tubes.video_names
    tracks = Tracks(tubes.video, tubes.tube + 1, tubes.frame, score, tubes.boxes, names)
    write_table(tracks, folder / "tracks.parquet")
    record = {"settings": {"threshold": 0.5}, "video": [10, 3], "frames": 48, "tubes": 2}
    (folder / "done.json").write_text(json.dumps(record))


def _read_results(folder: Path) -> Any:
    from actiontubes.detect.inference.result import Result
    from actiontubes.detect.inference.resumable_run import RECORD, VideoJob, finished_jobs

    if (folder / "done.json").exists():
        shutil.copy(folder / "done.json", folder / RECORD)
    job = VideoJob(
        path=folder / "none.mp4", name="none", folder=folder, drawn=folder / "none.tubes.mp4"
    )
    _attempt(lambda: finished_jobs([job], {"threshold": 0.5}))
    return Result.read(folder, lambda start: iter(()))


def _videos(folder: Path, codecs: tuple[tuple[str, str, str], ...]) -> None:
    import av

    for name, codec, pixels in codecs:
        with av.open(str(folder / name), "w") as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, pixels
            stream.codec_context.gop_size = 4
            for number in range(10):
                image = np.full((32, 48, 3), 25 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode(None))


def _read_videos(folder: Path) -> None:
    from actiontubes.datasets.video.media import measure_video, probe_video, read_frames

    for path in sorted(folder.iterdir()):
        _attempt(lambda path=path: probe_video(path))  # type: ignore[misc]
        _attempt(lambda path=path: list(read_frames(path, 6, 8)))  # type: ignore[misc]
        _attempt(lambda path=path: measure_video(path))  # type: ignore[misc]


def _images(folder: Path) -> None:
    import cv2

    inside = folder / "frames"
    inside.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    cv2.imwrite(str(inside / "00001.png"), image)
    cv2.imwrite(str(inside / "00002.jpg"), image)


def _flow(folder: Path) -> None:
    from actiontubes.datasets.flow.cache import write_cache

    inside = folder / "frames"
    inside.mkdir()
    _videos(inside, (("v.mp4", "mpeg4", "yuv420p"),))
    write_cache(inside / "v.mp4", folder / "v.mp4.dis.flow", "dis")


def _read_flow(folder: Path) -> None:
    from actiontubes.datasets.flow.cache import is_valid_cache, read_cache

    path, media = folder / "v.mp4.dis.flow", folder / "frames" / "v.mp4"
    is_valid_cache(path, media, "dis")
    for start in (0, 5):
        for _ in read_cache(path, media, "dis", start):
            pass


def _onnx_detector(folder: Path) -> None:
    from actiontubes.detect.inference.export import export_detector
    from actiontubes.detect.model.checkpoint import load_detector

    checkpoint = OLD_FILES / "run" / "detector.safetensors"
    export_detector(load_detector(checkpoint), folder / "detector.onnx")


def _read_onnx_detector(folder: Path) -> None:
    from actiontubes.detect.inference.onnx_predictor import load_onnx_predictor
    from actiontubes.detect.people import onnx_file

    onnx_file.isolated_reader = lambda *_, **__: nullcontext(_process(onnx_file.try_loading))
    load_onnx_predictor(folder / "detector.onnx")


def _onnx_people(folder: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    kind = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Conv", ["mean", "none"], ["zero"], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["zero", "three"], ["flat"]),
        helper.make_node("Add", ["flat", "constant"], ["output"]),
    ]
    output = np.full((1, 21, 6), 0.5, np.float32)
    weights = [numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "none"),
               numpy_helper.from_array(np.array([1, 1, 1]), "three"),
               numpy_helper.from_array(output, "constant")]  # fmt: skip
    graph = helper.make_graph(
        nodes, "people", [helper.make_tensor_value_info("images", kind, (1, 3, 32, 32))],
        [helper.make_tensor_value_info("output", kind, output.shape)], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, folder / "people.onnx")


def _read_onnx_people(folder: Path) -> None:
    from actiontubes.detect.people import onnx_file
    from actiontubes.detect.people.onnx_detectors.source import onnx_source, recognize

    onnx_file.isolated_reader = lambda *_, **__: nullcontext(_process(recognize))
    onnx_source(str(folder / "people.onnx"), device="cpu", threshold=0.1)


_H264 = (("a.mp4", "libx264", "yuv420p"), ("b.mkv", "libx264", "yuv420p"))
_MPEG = (("a.avi", "mpeg4", "yuv420p"), ("b.avi", "mjpeg", "yuvj420p"))
_OTHER = (("a.webm", "libvpx-vp9", "yuv420p"), ("b.mkv", "ffv1", "gray"))


def _graph(folder: Path) -> None:
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.types_pb2 import DT_FLOAT

    graph = GraphDef()
    for number in range(1, 5):
        node = graph.node.add(name=f"layer{number}/weights", op="Const")
        tensor = node.attr["value"].tensor
        tensor.dtype, tensor.tensor_content = DT_FLOAT, np.ones(6 * number, "<f4").tobytes()
        for size in (2, 3, number):
            tensor.tensor_shape.dim.add(size=size)
    (folder / "graph.pb").write_bytes(graph.SerializeToString())


def _read_graph(folder: Path) -> None:
    from actiontubes.backbones.weights.frozen_graph import read_constants

    read_constants(folder / "graph.pb")


READERS: dict[str, Reader] = {
    "csv-tables": Reader(_tables, _read_tables),
    "parquet-tables": Reader(_parquet_tables, _read_tables),
    "act": Reader(_act, _formats("read_ground_truth", "gt.pkl")),
    "act-detections": Reader(_act_detections, _formats("read_detections", "frame_detections.pkl")),
    "act-tubes": Reader(_act_tubes, _formats("read_tubes", "built", "video_detections.pkl")),
    "tubelets": Reader(_tubelets, _formats("read_detections", "act", "moc")),
    "pyannot": Reader(_pyannot, _formats("read_ground_truth", "pyannot.pkl")),
    "finalannots": Reader(_final_annots, _read_matlab),
    "jhmdb": Reader(_jhmdb, _read_matlab, 0.3),
    "coco": Reader(_coco, _formats("read_detections", "results.json")),
    "coco-video": Reader(_coco_video, _formats("read_ground_truth", "video.json")),
    "cvat": Reader(_cvat, _formats("read_ground_truth", "task.xml", "task.zip")),
    "mot": Reader(_mot, _formats("read_ground_truth", "mot")),
    "ava": Reader(_ava, _read_ava),
    "yowo": Reader(_yowo, _formats("read_detections", ".")),
    "lists": Reader(_lists, _read_lists),
    "recipes": Reader(_recipes, _read_recipes, 0.05),
    "checkpoint": Reader(_checkpoint, _read_checkpoint, 0.1),
    "weights": Reader(_weights, _read_weights, 0.2),
    "graph": Reader(_graph, _read_graph),
    "state": Reader(_state, _read_state, 0.5),
    "results": Reader(_results, _read_results),
    "h264": Reader(lambda folder: _videos(folder, _H264), _read_videos, 0.2),
    "mpeg4": Reader(lambda folder: _videos(folder, _MPEG), _read_videos, 0.2),
    "vp9-ffv1": Reader(lambda folder: _videos(folder, _OTHER), _read_videos, 0.2),
    "images": Reader(_images, _read_videos),
    "flow": Reader(_flow, _read_flow, 0.5),
    "onnx-detector": Reader(_onnx_detector, _read_onnx_detector, 0.02),
    "onnx-people": Reader(_onnx_people, _read_onnx_people, 0.1),
}
