"""Pretrained weights: catalog and cache, conversion of released files, loading and saving."""

from .load import load_pretrained as load_pretrained
