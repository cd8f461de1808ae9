"""What the many ways to say where images are come to."""

from __future__ import annotations

import os
from typing import Any

from .folder import scan
from .samples import Samples


def scanned(source: Any, *, skip: bool = False) -> Samples:
    """The samples of a path of class folders, of a source (Folder, FileList, ...), or samples themselves.

    skip: leave out what is no image by its name, and list it in `skipped`. Raises TypeError for anything else, and
    whatever the source raises.
    """
    if isinstance(source, Samples):
        return source
    if isinstance(source, str | os.PathLike):
        return scan(source, skip=skip)
    if isinstance(source, type) or not callable(getattr(source, "scan", None)):
        raise TypeError(f"source must be a path of class folders or one of dtm.sources, got {source!r:.80}")
    found: Samples = source.scan(skip=skip)
    return found
