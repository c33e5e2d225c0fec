"""Which part of a split a word means."""

from __future__ import annotations

import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.split_words import part_of_word, split_by_words


@pytest.mark.parametrize(
    ("word", "part"),
    [("train", "train"), ("Training ", "train"), ("TEST", "test"), ("testing", "test"),
     ("val", "val"), ("Validation", "val"), ("", None), ("1", None), ("trainval", None)],
)  # fmt: skip
def test_words(word: str, part: str | None) -> None:
    assert part_of_word(word) == part


def test_lists() -> None:
    assert split_by_words({"a": "Train", "b": "Test"}, "v") == {"train1": ["a"], "test1": ["b"]}
    assert split_by_words({"a": "train", "b": "val"}, "v") == {"train1": ["a"], "test1": ["b"]}
    with pytest.warns(UserWarning, match="v: 2 videos are neither for training nor .*c, d"):
        lists = split_by_words({"a": "train", "b": "test", "c": "val", "d": ""}, "v")
    assert lists == {"train1": ["a"], "test1": ["b"]}
    with pytest.raises(InputError, match=r"v: split 'tset' of video b .*choose from train, "):
        split_by_words({"a": "train", "b": "tset"}, "v")
