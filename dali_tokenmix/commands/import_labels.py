"""Turns a released tree of label files (TokenLabeling, TokenMix) into one label store.

The tree mirrors the images: <class>/<name>.pt for <class>/<name>.jpg, each a tensor [2, k, H, W] of logits and class
ids.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from .. import devices
from .make_labels import require, summary

HELP = "turn a tree of TokenLabeling's or TokenMix's .pt label files into a label store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="your images, a folder for each class")
    parser.add_argument("--labels", type=Path, required=True, help="the tree of .pt files")
    parser.add_argument("--out", type=Path, required=True, help="the store to write, a safetensors file")
    parser.add_argument(
        "--maps",
        choices=("uint8", "float16", "none"),
        default="none",
        help="also of the images' own classes, 0 where they are not among the best (default: %(default)s)",
    )


def run(given: argparse.Namespace) -> int:
    """Returns the exit code. Raises ValueError, OSError, RuntimeError or ImportError for what the user can mend."""
    require(("torch",), devices.EXTRAS)
    from ..label_store.importer import import_labels

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        store = import_labels(given.root, given.labels, given.out, maps=None if given.maps == "none" else given.maps)
    print(summary(store))
    for warning in caught:
        print(f"warning: {warning.message}")
    return 0
