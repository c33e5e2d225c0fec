"""detectron2's models as sources of person boxes, where detectron2 is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from .cleanup import in_batches


def detectron2_proposals(
    config: str, weights: str | None, *, device: str, threshold: float
) -> Callable[[np.ndarray, int], list[np.ndarray]]:
    """Person proposals by a detector of detectron2's model zoo.

    Args:
        config: a YAML config of the zoo, such as "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml".
        weights: a file for it, else the zoo's own, which detectron2 downloads. detectron2 unpickles
            such files, which can run code: give only those that you trust.
        device: where it runs.
        threshold: the lowest score kept.

    Raises:
        InputError: detectron2 is missing, or the config or its weights cannot be had.
    """
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
        cfg = model_zoo.get_config(config, trained=weights is None)
    except RuntimeError as error:
        raise InputError(f"--proposals detectron2:{config}: {error}") from error
    if weights is not None:
        cfg.MODEL.WEIGHTS = weights
    cfg.MODEL.DEVICE = device
    return config_proposals(cfg, threshold=threshold)


def config_proposals(
    cfg: Any, *, threshold: float
) -> Callable[[np.ndarray, int], list[np.ndarray]]:
    """Person proposals by the model and weights of a detectron2 config node.

    Pictures are resized as the config's test-time settings say. The person class is found by name
    in the config's test data set.

    Raises:
        InputError: the model does not know people, or its weights cannot be had.
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
        picture = frame[:, :, ::-1] if cfg.INPUT.FORMAT == "BGR" else frame
        picture = resize.get_transform(picture).apply_image(np.ascontiguousarray(picture))
        tensor = torch.from_numpy(picture.astype(np.float32).transpose(2, 0, 1))
        return {"image": tensor, "height": frame.shape[0], "width": frame.shape[1]}

    def detect(frames: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with torch.inference_mode():
            results = model([as_input(frame) for frame in frames])
        for instances in (result["instances"] for result in results):
            people = instances[instances.pred_classes == person].to("cpu")
            yield people.pred_boxes.tensor.numpy(), people.scores.numpy()

    return in_batches(detect, threshold)
