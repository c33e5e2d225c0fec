"""Pretrained weights: catalogue and cache, conversion of public layouts, loading and saving."""

from .load import load_pretrained as load_pretrained
