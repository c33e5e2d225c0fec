"""Optical flow: computed, cached, drawn in color."""

from typing import Literal

FlowMethod = Literal["tvl1", "dis"]
Streams = Literal["rgb", "flow", "both"]
