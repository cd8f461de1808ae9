"""Images of class folders as file lists, tar shards and TFRecords, and their index files, which DALI's tools make."""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wds2idx

from dali_tokenmix.dataset import scan

TFRECORD2IDX = Path(sys.executable).with_name("tfrecord2idx")
Sample = dict[str, bytes]  # by ending, or by feature; features may also be whole numbers, or lists of them


def write_list(root: Path, file: Path) -> Path:
    """A line "path label" for each image, paths relative to root."""
    data = scan(root)
    file.write_text("".join(f"{path} {label}\n" for path, label in zip(data.files, data.labels, strict=True)))
    return file


def write_tar(path: Path, samples: dict[str, Sample]) -> Path:
    """A tar with <key>.<ending> for each part of each sample."""
    with tarfile.open(path, "w") as tar:
        for key, parts in samples.items():
            for ending, content in parts.items():
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def write_tars(root: Path, folder: Path, shards: int = 3) -> list[Path]:
    """Shards with the images of class folders in their order: <number>.jpg (or the like) and <number>.cls."""
    data, written = scan(root), []
    samples = {
        f"{k:05}": {file.rpartition(".")[2]: (root / file).read_bytes(), "cls": b"%d\n" % label}
        for k, (file, label) in enumerate(zip(data.files, data.labels, strict=True))
    }
    for number, keys in enumerate(split(list(samples), shards)):
        written.append(write_tar(folder / f"train-{number:02}.tar", {key: samples[key] for key in keys}))
    return written


def write_records(path: Path, examples: Sequence[dict[str, Any]]) -> Path:
    """A TFRecord file."""
    with open(path, "wb") as file:
        for features in examples:
            example = tf_example(features)
            head = struct.pack("<Q", len(example))
            file.write(head + masked_crc(head) + example + masked_crc(example))
    return path


def write_tf_records(root: Path, folder: Path, files: int = 3) -> list[Path]:
    """TFRecord files with the images of class folders in their order; labels begin at 1, as in ImageNet's."""
    data = scan(root)
    examples = [
        {
            "image/filename": file.encode(),
            "image/encoded": (root / file).read_bytes(),
            "image/class/label": int(label) + 1,
        }
        for file, label in zip(data.files, data.labels, strict=True)
    ]
    parts = enumerate(split(examples, files))
    return [write_records(folder / f"train-{number:05}-of-{files:05}", part) for number, part in parts]


def split(items: list[Any], parts: int) -> list[list[Any]]:
    """Some for each, more for the last ones."""
    ends = [len(items) * k * (k + 1) // (parts * (parts + 1)) for k in range(parts + 1)]
    return [items[start:end] for start, end in itertools.pairwise(ends)]


def index_tars(tars: list[Path]) -> list[Path]:
    """By DALI's wds2idx."""
    for tar in tars:
        with contextlib.redirect_stdout(io.StringIO()), wds2idx.IndexCreator(str(tar), f"{tar}.idx") as creator:
            creator.create_index()
    return [Path(f"{tar}.idx") for tar in tars]


def index_records(files: list[Path]) -> list[Path]:
    """By DALI's tfrecord2idx."""
    for file in files:
        subprocess.run([sys.executable, str(TFRECORD2IDX), str(file), f"{file}.idx"], check=True)
    return [Path(f"{file}.idx") for file in files]


def tf_example(features: dict[str, Any]) -> bytes:
    """A tf.train.Example of bytes, whole numbers, lists of them, and floats."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = field(1, field(1, value))
        elif isinstance(value, float):
            feature = field(2, field(1, struct.pack("<f", value)))
        else:
            numbers = value if isinstance(value, list) else [value]
            feature = field(3, field(1, b"".join(varint(number % 2**64) for number in numbers)))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """7 bits a byte."""
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def masked_crc(content: bytes) -> bytes:
    """crc32c, bit by bit, rotated and shifted as TFRecords have it. Of long contents, of none: nobody looks at it."""
    crc = 0xFFFFFFFF
    for byte in content if len(content) < 100 else b"":
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
