"""Detectors of detectron2's model zoo as proposal sources, where detectron2 is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from .person_boxes import FunctionSource, batched_source


def detectron2_source(name: str, *, device: str, threshold: float) -> FunctionSource:
    """A detector of detectron2's model zoo.

    Args:
        name: "detectron2:CONFIG" or "detectron2:CONFIG,WEIGHTS". CONFIG is a YAML config of the
            zoo, such as COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml; WEIGHTS is a file for it,
            else the zoo's own is downloaded. detectron2 unpickles weights, which can run code: use
            only files that you trust.
        device: where it runs.
        threshold: the lowest score kept.

    Raises:
        InputError: detectron2 is missing, or the config or its weights cannot be read.
    """
    config, _, weights = name.removeprefix("detectron2:").partition(",")
    try:
        from detectron2 import model_zoo
    except ImportError as error:
        raise InputError(
            f"--proposals detectron2:{config}: detectron2 cannot be imported ({error}); "
            "conda install -c conda-forge detectron2, or build it from its repository"
        ) from error
    if not config.endswith(".yaml"):
        raise InputError(
            f"--proposals detectron2:{config}: must be the name of a .yaml config, such as "
            "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
        )
    try:
        cfg = model_zoo.get_config(config, trained=not weights)
    except RuntimeError as error:
        raise InputError(f"--proposals detectron2:{config}: {error}") from error
    if weights:
        cfg.MODEL.WEIGHTS = weights
    cfg.MODEL.DEVICE = device
    return config_source(cfg, threshold=threshold)


def config_source(cfg: Any, *, threshold: float) -> FunctionSource:
    """The model and weights of a detectron2 config node.

    Frames are resized as the config's INPUT section says for tests. The class "person" is looked up
    in the metadata of the config's test data set.

    Raises:
        InputError: the model has no class "person", or its weights cannot be read.
    """
    import torch
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.data import MetadataCatalog
    from detectron2.data.transforms import ResizeShortestEdge
    from detectron2.modeling import build_model

    classes = MetadataCatalog.get(cfg.DATASETS.TEST[0]).get("thing_classes", [])
    if "person" not in classes:
        raise InputError(
            f"--proposals detectron2:CONFIG: its data set {cfg.DATASETS.TEST[0]} has no class "
            "person"
        )
    person = classes.index("person")
    cfg = cfg.clone()
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
    model = build_model(cfg).eval()
    try:
        DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    except Exception as error:  # a download, a pickle and an archive fail each in their own way
        raise InputError(
            f"{cfg.MODEL.WEIGHTS}: detectron2 cannot load these weights ({error}); give a "
            "local file: --proposals detectron2:CONFIG,FILE"
        ) from error
    shortest = cfg.INPUT.MIN_SIZE_TEST
    resize = ResizeShortestEdge([shortest, shortest], cfg.INPUT.MAX_SIZE_TEST)

    def as_input(frame: np.ndarray) -> dict[str, Any]:
        image = frame[:, :, ::-1] if cfg.INPUT.FORMAT == "BGR" else frame
        image = resize.get_transform(image).apply_image(np.ascontiguousarray(image))
        tensor = torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1))
        return {"image": tensor, "height": frame.shape[0], "width": frame.shape[1]}

    def detect(frames: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with torch.inference_mode():
            results = model([as_input(frame) for frame in frames])
        for instances in (result["instances"] for result in results):
            people = instances[instances.pred_classes == person].to("cpu")
            yield people.pred_boxes.tensor.numpy(), people.scores.numpy()

    return batched_source(detect, threshold)
