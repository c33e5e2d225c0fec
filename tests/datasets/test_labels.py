"""."""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest
from actiontubes.backbones.weights.load import kinetics400_labels
from actiontubes.datasets.labels import LABEL_MAPS, load_label_map

UCF101_24 = """
    Basketball BasketballDunk Biking CliffDiving CricketBowling Diving Fencing FloorGymnastics
    GolfSwing HorseRiding IceDancing LongJump PoleVault RopeClimbing SalsaSpin SkateBoarding Skiing
    Skijet SoccerJuggling Surfing TennisSwing TrampolineJumping VolleyballSpiking WalkingWithDog
"""
JHMDB = """
    brush_hair catch clap climb_stairs golf jump kick_ball pick pour pullup push run shoot_ball
    shoot_bow shoot_gun sit stand swing_baseball throw walk wave
"""


@pytest.mark.parametrize("dataset", LABEL_MAPS)
def test_maps_hold_real_kinetics_classes_once(dataset: str) -> None:
    stand_ins = [name for names in load_label_map(dataset).values() for name in names]
    assert set(stand_ins) <= set(kinetics400_labels())
    assert len(stand_ins) == len(set(stand_ins)), "one class would stand for two"


@pytest.mark.parametrize("dataset", LABEL_MAPS)
def test_the_file_is_what_the_map_says(dataset: str) -> None:
    file = files("actiontubes.datasets").joinpath("label_maps", f"kinetics400_to_{dataset}.csv")
    rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["label", "kinetics400"] and all(len(row) == 2 for row in rows)
    assert [tuple(row) for row in rows[1:]] == [
        (label, name) for label, names in load_label_map(dataset).items() for name in names
    ]


def test_every_class_of_ucf101_24_has_a_stand_in() -> None:
    assert list(load_label_map("ucf101-24")) == UCF101_24.split()


def test_jhmdb_lacks_the_classes_that_kinetics_lacks() -> None:
    missing = {"climb_stairs", "pick", "pour", "shoot_gun", "sit", "stand", "walk", "wave"}
    assert set(load_label_map("jhmdb")) == set(JHMDB.split()) - missing


def test_ucf101_24_classes_are_those_of_the_ground_truth(shared) -> None:
    names = shared("ucf101-24/testlist01.txt").read_text().split()
    assert sorted({name.split("/")[0] for name in names}) == UCF101_24.split()
