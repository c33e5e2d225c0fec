"""detectron2 as a source: real where it is installed, a clear line where it is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.datasets.errors import InputError
from actiontubes.detect.people.proposals import open_proposal_source

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 60, 90, 3), np.uint8)


def test_without_detectron2_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(InputError, match="conda-forge"):
        open_proposal_source("detectron2:COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml")


@pytest.fixture(scope="module")
def config(detectron2: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small Faster R-CNN with random weights in a file, which favours people and bicycles."""
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 30
    cfg.INPUT.MIN_SIZE_TEST = 96
    cfg.DATASETS.TEST = ("coco_2017_val",)
    torch.manual_seed(0)
    model = build_model(cfg)
    # Features of random weights run wild: each box gets the same scores and stays where it is.
    for layer in (model.roi_heads.box_predictor.cls_score, model.roi_heads.box_predictor.bbox_pred):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(model.roi_heads.box_predictor.cls_score.bias[:2], 3.0)
    cfg.MODEL.WEIGHTS = str(tmp_path_factory.mktemp("weights") / "random.pth")
    torch.save({"model": model.state_dict()}, cfg.MODEL.WEIGHTS)
    return cfg


def test_people_as_detectron2_itself_finds_them(config: Any, propose: Any) -> None:
    from actiontubes.detect.people.detectron2_zoo import config_source
    from detectron2.engine import DefaultPredictor

    theirs = config.clone()
    theirs.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.02
    predictor = DefaultPredictor(theirs)
    source = config_source(config, threshold=0.02)
    for frame, boxes in zip(FRAMES, propose(source, FRAMES), strict=True):
        instances = predictor(np.ascontiguousarray(frame[:, :, ::-1]))["instances"]
        people = instances[instances.pred_classes == 0]
        assert 0 < len(people) < len(instances)
        assert boxes.dtype == np.float32 and (boxes[:, [2, 3]] <= [90, 60]).all()
        np.testing.assert_allclose(boxes[:, :4], people.pred_boxes.tensor.numpy(), atol=1e-2)
        np.testing.assert_allclose(boxes[:, 4], people.scores.numpy(), atol=1e-4)


def test_batches_and_single_frames_agree(config: Any, propose: Any) -> None:
    from actiontubes.detect.people.detectron2_zoo import config_source

    source = config_source(config, threshold=0.02)
    for frame, boxes in zip(FRAMES, propose(source, FRAMES), strict=True):
        np.testing.assert_allclose(propose(source, frame[None])[0], boxes, atol=1e-2)
    nobody = propose(config_source(config, threshold=0.999), FRAMES)
    assert [boxes.shape for boxes in nobody] == [(0, 5)] * len(FRAMES)


def test_what_detectron2_lacks_is_named(config: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope\.yaml not available"):
        open_proposal_source("detectron2:nope.yaml")
    with pytest.raises(InputError, match=r"must be the name of a .yaml config"):
        open_proposal_source("detectron2:new_baselines/mask_rcnn.py")
    from actiontubes.detect.people.detectron2_zoo import config_source

    other = config.clone()
    other.DATASETS.TEST = ("no_such_set",)
    with pytest.raises(InputError, match="no_such_set has no class person"):
        config_source(other, threshold=0.1)
    other = config.clone()
    other.MODEL.WEIGHTS = str(tmp_path / "absent.pth")
    with pytest.raises(InputError, match=r"absent.pth: detectron2 cannot load"):
        config_source(other, threshold=0.1)
    (tmp_path / "absent.pth").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"absent.pth: detectron2 cannot load"):
        config_source(other, threshold=0.1)
