"""Messages to users."""

from __future__ import annotations

import pytest
from actiontubes.datasets.errors import InputError


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\x0b", "\x1e", "\x85", "\u2028"])
def test_a_name_with_a_line_break_leaves_the_message_one_line(line_break: str) -> None:
    message = str(InputError(f"gt.pkl: video Basket{line_break}ball: has no boxes"))
    assert message == "gt.pkl: video Basket ball: has no boxes"
