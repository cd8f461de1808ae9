"""Which image files cannot be decoded: before a run (on_error="skip"), or after an error that names no file."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline

from .pipeline import whole_image
from .progress import progress
from .sources.samples import Samples

S = TypeVar("S", bound=Samples)
CHUNK = 16
READING = ("readers.", "peek_image_shape", "decoders.", "random_crop_generator")  # what a file can fail in


def unreadable(
    data: Samples, which: Iterable[int] | None = None, *, num_threads: int, doing: str | None = None
) -> dict[int, str]:
    """{index: reason} of the samples that DALI cannot decode in full. Decodes them all, on the CPU.

    which: indices of those to look at; None: all. doing: what to call the work on stderr while it lasts; None says
    nothing.
    """
    indices = range(len(data.files)) if which is None else list(which)
    with progress(doing) if doing else nullcontext(lambda done, of_all: None) as show:
        return _unreadable(data, indices, num_threads, show)


def readable(data: S, *, num_threads: int) -> S:
    """The samples that DALI decodes; the others are in `skipped`. Reads and decodes all of them.

    Raises ValueError for what only a reader of DALI's can get at, and where nothing is left.
    """
    if not data.local():
        raise ValueError(
            f"on_error='skip' reads every image beforehand, which it cannot do at {data.name(0)}: pass on_error='raise'"
        )
    bad = unreadable(data, num_threads=num_threads, doing="checking images")
    return data.without({data.files[k]: reason for k, reason in bad.items()})


def _unreadable(
    data: Samples, indices: Sequence[int], num_threads: int, show: Callable[[int, int], None]
) -> dict[int, str]:
    bad: dict[int, str] = {}
    decoder = _decoder(num_threads)
    for start in range(0, len(indices), CHUNK):
        show(start, len(indices))
        chunk = []
        for index in indices[start : start + CHUNK]:
            try:
                encoded = data.encoded(index)
            except OSError as error:
                bad[index] = error.strerror or str(error)
                continue
            if encoded.size == 0:
                bad[index] = "file is empty"
            else:
                chunk.append((index, encoded))
        if chunk and _fails(decoder, [encoded for _, encoded in chunk]):
            decoder = _decoder(num_threads)
            for index, encoded in chunk:
                if _fails(decoder, [encoded]):
                    bad[index] = "no image that DALI decodes: corrupt, truncated or of another format"
                    decoder = _decoder(num_threads)
    return bad


def explain(error: RuntimeError, data: Samples, recent: Iterable[int] = (), *, num_threads: int) -> str:
    """What a pipeline's error says to a user: the sample and why, if reading or decoding failed; else DALI's own words.

    recent: indices that are likely to blame. All are searched where neither they nor the error name the sample.
    """
    text = str(error)
    operator = re.search(r"operator `nvidia\.dali\.fn\.([a-z_.]+)`", text)
    if not operator or not operator[1].startswith(READING):
        return text.strip()
    if (named := data.index_of(text)) is not None:
        return f"cannot read {data.name(named)}: {_reason(data, named, num_threads)}"
    if not data.local():
        return text.strip()
    for which, doing in ((list(dict.fromkeys(recent)), None), (None, "looking for the unreadable image")):
        for index, reason in unreadable(data, which, num_threads=num_threads, doing=doing).items():
            return f"cannot read {data.name(index)}: {reason}"
    return text.strip()


def _reason(data: Samples, index: int, num_threads: int) -> str:
    otherwise = "DALI could not decode it"
    if not data.local():
        return otherwise
    reason = unreadable(data, [index], num_threads=num_threads).get(index, otherwise)
    return "no such file" if reason == os.strerror(errno.ENOENT) else reason


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
