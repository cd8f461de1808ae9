"""What lies where in a tar of the WebDataset convention: a sample is files side by side, of one name and endings."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from .shards import read_text

HEADER = 512  # bytes in front of what it is about
LONG = 100  # letters of a name that a header has no room for
FIELDS = {"v1.1": ("ending", "offset", "size"), "v1.2": ("ending", "offset", "size", "name")}  # of wds2idx


class Part(NamedTuple):
    """A file in a tar: its name, where it is known, and its bytes; of a link, which DALI does not follow, size -1."""

    name: str | None
    offset: int
    size: int


class Entry(NamedTuple):
    """A sample: what its files are called up to the first dot, where it is known, and the file of each ending."""

    key: str | None
    parts: dict[str, Part]


def entries_of(path: str, index: str | None) -> list[Entry]:
    """The samples of a tar: of its index file, or else of a walk through it. Raises ValueError that names the file."""
    found = list(_walked(path)) if index is None else _indexed(index)
    if not found:
        raise ValueError(f"{path if index is None else index} has no samples")
    return found


def key_of(entry: Entry, number: int, path: str, index: str | None, file: BinaryIO | None, *, look: bool) -> str:
    """The key of a sample: of an index that has none, what the tar says, or its number where there is no tar to ask.

    look: hold the index against the tar at this sample. Raises ValueError where they differ.
    """
    if index is None or file is None or not (look or entry.key is None):
        return str(number) if entry.key is None else entry.key
    names = [_checked(_header(file, part), part, path, index) for part in entry.parts.values()]
    return split_name(names[0])[0] if entry.key is None else entry.key


def content(part: Part, path: str, index: str | None, file: BinaryIO) -> bytes:
    """The bytes of a small file in a tar. Raises ValueError if they are not where the index says."""
    if index is not None:
        _checked(_header(file, part), part, path, index)
    file.seek(part.offset)
    return file.read(part.size)


def split_name(name: str) -> tuple[str, str]:
    """Key and ending, in small letters: the name is cut at the first dot behind the last slash."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return folder + slash + stem, ending.lower()


def _header(file: BinaryIO, part: Part) -> bytes:
    file.seek(max(0, part.offset - HEADER))
    return file.read(HEADER)


def _checked(header: bytes, part: Part, path: str, index: str) -> str:
    """The name in the header, which must be of that part."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        same = member.isreg() and member.size == part.size
    except tarfile.HeaderError:
        same = False
    if not same or (part.name is not None and len(part.name) < LONG and member.name != part.name):
        what = f"{part.size} bytes of {part.name or 'a sample'} at {part.offset}"
        raise ValueError(
            f"index {index} is of another tar: {path} has no {what}. Make it again with wds2idx; or leave out "
            "index=: wds2idx errs on names of more than 100 letters in a tar of GNU's format"
        )
    return member.name


def _walked(path: str) -> Iterator[Entry]:
    key = ""
    parts: dict[str, Part] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                stem, ending = split_name(member.name)
                is_link = member.islnk() or member.issym()
                if not (member.isreg() or is_link) or not stem or stem.endswith("/"):
                    continue  # folders and hidden files
                if stem != key and parts:
                    yield Entry(key, parts)
                if stem != key:
                    key, parts = stem, {}
                if ending in parts:
                    raise ValueError(f"{path} has {member.name} twice")
                parts[ending] = Part(member.name, member.offset_data, -1 if is_link else member.size)
            _check_end(archive, path)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no tar file, or compressed or truncated: {error}") from error
    if parts:
        yield Entry(key, parts)


def _check_end(archive: tarfile.TarFile, path: str) -> None:
    """Raises ValueError unless the last member is followed by a tar's end: one cut at a header looks whole."""
    last: Any = archive.getmembers()[-1:]
    end = sum(member.offset_data + -(-member.size // HEADER) * HEADER for member in last)
    assert archive.fileobj is not None
    archive.fileobj.seek(end)
    if archive.fileobj.read(HEADER) != bytes(HEADER):
        raise ValueError(f"{path} is truncated: it has no end mark at {end}. If it is whole, pass index=, of wds2idx")


def _indexed(index: str) -> list[Entry]:
    head, *lines = read_text(index).splitlines() or [""]
    version, _, count = head.partition(" ")
    fields = FIELDS.get(version)
    if fields is None or not count.strip().isdecimal():
        raise ValueError(f"index {index} is none of wds2idx: its first line must be 'v1.2 <samples>', got {head!r:.60}")
    lines = [line for line in lines if line.strip()]
    if len(lines) != int(count):
        raise ValueError(f"index {index} is truncated: it says {int(count)} samples and has {len(lines)}")
    return [_entry(f"index {index}, line {number}", line.split(), fields) for number, line in enumerate(lines, 2)]


def _entry(where: str, words: list[str], fields: tuple[str, ...]) -> Entry:
    parts = {}
    for start in range(0, len(words), len(fields)):
        given = dict(zip(fields, words[start : start + len(fields)], strict=False))
        if len(given) != len(fields) or not (given["offset"].isdecimal() and given["size"].isdecimal()):
            raise ValueError(
                f"{where} must be '{' '.join(fields)}' for each file of a sample, got {' '.join(words)!r:.80}. "
                "wds2idx has no room for names with blanks: leave out index= for such a tar"
            )
        parts[given["ending"].lower()] = Part(given.get("name"), int(given["offset"]), int(given["size"]))
    name = next(iter(parts.values())).name
    return Entry(None if name is None else split_name(name)[0], parts)
