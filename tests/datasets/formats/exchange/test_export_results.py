"""`detect --export`: the tubes of a folder of results for label tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.exchange.export_results import export_results, parse_export
from actiontubes.datasets.formats.registry import read_annotations
from actiontubes.datasets.table_io import write_table
from actiontubes.datasets.tables import Tubes, make_videos


@pytest.mark.filterwarnings("ignore:.*the actions are")
def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    tubes = Tubes(
        video=np.zeros(4, np.int32), frame=np.array([3, 4, 3, 4], np.int32),
        label=np.array([0, 0, 1, 1], np.int32), boxes=np.array([[0.1, 2, 30.7, 40]] * 4),
        tube=np.array([0, 0, 1, 1]), tube_score=np.full(4, 0.5), score=np.full(4, 0.25),
        person=np.full(4, 2, np.int32), video_names=("alpha",), label_names=("walk", "wave"),
    )  # fmt: skip
    write_table(tubes, tmp_path / "tubes.parquet")
    write_table(make_videos(["alpha", "empty"], 10, 64, 48, 25), tmp_path / "videos.parquet")
    written = export_results(tmp_path, parse_export("cvat, mot,coco"))
    assert written == [tmp_path, tmp_path, tmp_path / "coco.json"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "tubes.parquet", "videos.parquet", "alpha.cvat.xml", "empty.cvat.xml", "alpha.mot.txt",
        "empty.mot.txt", "labels.txt", "coco.json",
    }  # fmt: skip
    for name in ("alpha.cvat.xml", "alpha.mot.txt", "coco.json"):
        back = read_annotations(tmp_path / name).tubes
        order = np.lexsort((back.frame, back.label))
        assert back.person is not None
        assert set(back.person.tolist()) == {2}
        assert [back.label_names[code] for code in back.label[order]] == ["walk"] * 2 + ["wave"] * 2
        assert back.frame[order].tolist() == [3, 4, 3, 4]
        assert np.allclose(back.boxes, tubes.boxes, rtol=0, atol=1e-12)


def test_an_unknown_format_is_refused_early() -> None:
    assert parse_export(None) == []
    with pytest.raises(InputError, match="--export cvatt: unknown; choose from cvat, mot, coco"):
        parse_export("cvatt")
