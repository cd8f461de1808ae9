"""Released trees of label files (TokenLabeling, TokenMix), one .pt for each image, as one label store."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..checks import choice
from ..dataset import ImageFolder, scan
from ..progress import progress
from . import rows as label_rows
from .store import LabelStore
from .writer import Run, checked_path

FILES = 256  # read between two looks at the journal


def import_labels(
    root: str | Path | ImageFolder,
    labels: str | Path,
    out: str | Path,
    *,
    maps: Literal["uint8", "float16"] | None = None,
) -> LabelStore:
    """A store with the top-k labels of a tree that mirrors the images: labels/<class>/<name>.pt for <class>/<name>.jpg.

    Each file holds one tensor [2, k, H, W]: the k largest logits at each place, and their class ids. It is loaded with
    weights_only=True. After a kill, the same call goes on. float16, in which the released trees have their ids, is
    exact to 2048 only: a warning says so where ids reach that.

    The released generators cut the centre out of an image before they label it, unless their model has crop_pct 1 and
    the image is square. The labels are taken to be of the whole image, as the released training does.

    Args:
        root: a folder with a folder of images for each class, or what dataset.scan() found in one.
        labels: the tree.
        out: the file to write, in a folder that exists.
        maps: also store ground-truth maps, in this type: the logit of the image's own class where it is positive and
            among the k, 0 elsewhere. The tree's class ids must be the positions of the class folders.

    Raises ValueError that names the file for one that is missing, cannot be read, is of another shape than the first,
    or has logits that are infinite or NaN, or ids that are no whole numbers; for two images of one label file; and as
    make_labels does for `out`.
    """
    choice("maps", maps, (*label_rows.MAP_TYPES, None))
    data, tree = root if isinstance(root, ImageFolder) else scan(root), Path(labels).absolute()
    if not tree.is_dir():
        raise ValueError(f"labels must be a folder with a folder of .pt files for each class, got {tree}")
    paths = _label_files(data, tree)
    first = _load(paths[0], data.files[0])
    k, height, width = first.shape[1:]
    described = label_rows.describe(data, {"teacher": f"imported from {tree.name}"}, (height, width), maps, k)
    run = Run(checked_path(out), described, {"tree": str(tree)}, FILES)
    if (there := run.finished()) is not None:
        return there
    rounded = 0
    with run.journal(0) as journal, progress(f"importing {len(paths)} label files") as show:
        for start in range(journal.done, len(paths), FILES):
            show(start, len(paths))
            batch = slice(start, start + FILES)
            tensors = [_load(path, file) for path, file in zip(paths[batch], data.files[batch], strict=True)]
            for path, tensor in zip(paths[batch], tensors, strict=True):
                _check(path, tensor, first)
                rounded += _may_be_rounded(tensor)
            logits, ids = torch.stack(tensors, 1).double().numpy()
            own = _own(logits, ids, data.labels[batch]) if maps else None
            journal.append(label_rows.pack(run.layout, data.files[batch], own, ids, logits))
    if rounded:
        warnings.warn(
            f"{rounded} label files of {tree} have class ids too large to be exact in their dtype ({first.dtype}): "
            "they may be of neighbouring classes",
            stacklevel=2,
        )
    store = run.finish(0)
    assert store is not None
    return store


def _label_files(data: ImageFolder, tree: Path) -> list[Path]:
    images: dict[str, str] = {}
    for file in data.files:
        name = str(Path(file).with_suffix(".pt"))
        if name in images:
            raise ValueError(f"{images[name]} and {file} would both have the label file {tree / name}")
        images[name] = file
    return [tree / name for name in images]


def _load(path: Path, image: str) -> torch.Tensor:
    try:
        tensor: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist, the label file of {image}") from error
    except Exception as error:  # a damaged file raises whatever unpickling it comes to
        reason = " ".join(str(error).split()).split(" Please")[0].split(". ")[0]  # not torch's advice to trust the file
        raise ValueError(f"{path} cannot be read as a tensor: {reason:.160}") from error
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 4 or len(tensor) != 2 or tensor.numel() == 0:
        found = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise ValueError(f"{path} must hold one tensor [2, k, H, W], logits and class ids, got {found}")
    return tensor


def _check(path: Path, tensor: torch.Tensor, first: torch.Tensor) -> None:
    if tensor.shape != first.shape:
        raise ValueError(f"{path} must be {list(first.shape)} as the other label files are, got {list(tensor.shape)}")
    logits, ids = tensor.double()
    if not logits.isfinite().all():
        raise ValueError(f"{path} must have finite logits, got {logits[~logits.isfinite()][0]}")
    if len(ids) > 1 and (ids.sort(0).values.diff(dim=0) == 0).any():
        raise ValueError(f"{path} must have each class id once at a place, got one twice")
    wrong = ids[(ids != ids.round()) | (ids < 0) | (ids >= 2**31)]
    if len(wrong):
        raise ValueError(f"{path} must have class ids that are whole numbers in 0..2^31-1, got {wrong[0]}")


def _may_be_rounded(tensor: torch.Tensor) -> bool:
    """Whether an id is so large that another id is rounded to the same number."""
    return tensor.is_floating_point() and bool(tensor[1].max() >= 2 / torch.finfo(tensor.dtype).eps)


def _own(logits: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, H, W): the logit of each sample's class where it is positive and among the k, 0 elsewhere."""
    own: np.ndarray = np.where(ids == labels[:, None, None, None], logits, 0).max(1).clip(min=0)
    return own
