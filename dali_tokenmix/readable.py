"""Which image files cannot be decoded: before a run (on_error="skip"), or after an error that names no file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline

from .pipeline import whole_image
from .progress import progress

CHUNK = 16
READING = ("readers.", "peek_image_shape", "decoders.", "random_crop_generator")  # what a file can fail in


def unreadable(paths: Sequence[str], *, num_threads: int, doing: str | None = None) -> dict[str, str]:
    """{path: reason} of the files that DALI cannot decode in full. Decodes them all, on the CPU.

    doing: what to call the work on stderr while it lasts; None says nothing.
    """
    with progress(doing) if doing else nullcontext(lambda done, of_all: None) as show:
        return _unreadable(paths, num_threads, show)


def _unreadable(paths: Sequence[str], num_threads: int, show: Callable[[int, int], None]) -> dict[str, str]:
    bad: dict[str, str] = {}
    decoder = _decoder(num_threads)
    for start in range(0, len(paths), CHUNK):
        show(start, len(paths))
        chunk = []
        for path in paths[start : start + CHUNK]:
            try:
                encoded = np.fromfile(path, np.uint8)
            except OSError as error:
                bad[path] = error.strerror or str(error)
                continue
            if encoded.size == 0:
                bad[path] = "file is empty"
            else:
                chunk.append((path, encoded))
        if chunk and _fails(decoder, [encoded for _, encoded in chunk]):
            decoder = _decoder(num_threads)
            for path, encoded in chunk:
                if _fails(decoder, [encoded]):
                    bad[path] = "no image that DALI decodes: corrupt, truncated or of another format"
                    decoder = _decoder(num_threads)
    return bad


def explain(error: RuntimeError, recent: Iterable[str], every: Sequence[str], num_threads: int) -> str:
    """What a pipeline's error says to a user: the file and why, if reading or decoding failed; else DALI's own words.

    recent: paths that are likely to blame. every: all paths, searched where neither they nor the error name the file.
    """
    text = str(error)
    operator = re.search(r"operator `nvidia\.dali\.fn\.([a-z_.]+)`", text)
    if not operator or not operator[1].startswith(READING):
        return text.strip()
    if named := max((path for path in every if path in text), key=len, default=None):  # a.jpg is in a.jpg.jpg
        return f"cannot read {named}: {_reason(named, num_threads)}"
    for paths, doing in ((list(dict.fromkeys(recent)), None), (every, "looking for the unreadable image")):
        for path, reason in unreadable(paths, num_threads=num_threads, doing=doing).items():
            return f"cannot read {path}: {reason}"
    return text.strip()


def _reason(path: str, num_threads: int) -> str:
    if not os.path.exists(path):
        return "no such file"
    return unreadable([path], num_threads=num_threads).get(path, "DALI could not decode it")


def _decoder(num_threads: int) -> Pipeline:
    pipeline = Pipeline(CHUNK, num_threads, None, prefetch_queue_depth=1)
    with pipeline:
        encoded = fn.external_source(name="encoded")
        pipeline.set_outputs(whole_image(encoded, fn.peek_image_shape(encoded), "cpu"))
    pipeline.build()
    return pipeline


def _fails(decoder: Pipeline, encoded: list[np.ndarray]) -> bool:
    decoder.feed_input("encoded", encoded)
    try:
        _: Any = decoder.run()
    except RuntimeError:
        return True
    return False
