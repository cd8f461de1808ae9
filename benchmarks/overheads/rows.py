"""The rows of the paper's table: how images are mixed, how they are labelled, and where the labels come from."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import dali_tokenmix as dtm

LITE0, PACKAGE = "efficientnet-lite0", "efficientnet_lite_pytorch"
RESNETS = ("torchvision:resnet18", "timm:resnet50")
CUTMIX, BY_AREA, STORED = "CutMix + ImageNet", "TokenMix + ImageNet", "TokenMix + TokenMix (store)"
METHODS = (
    *(dtm.Cutout(112), dtm.RandomErasing(fill="noise"), dtm.HideAndSeek(), dtm.MixUp(), dtm.ResizeMix(), dtm.RICAP()),
    *(dtm.SaliencyMix(), dtm.AugMix()),
)


@dataclass(frozen=True)
class Row:
    """mixer: None mixes nothing. supervision: as in Loader; all but "imagenet" take a store, or `teacher` if given.

    paper: GPU time against CutMix, table 4 of the paper; "" where it has no such row. usual: whether there is a usual
    way to hold it against; the Loader is timed for such rows only.
    """

    name: str
    mixer: Any
    supervision: str = "imagenet"
    teacher: Any = None
    paper: str = ""
    usual: bool = True

    @property
    def stored(self) -> bool:
        """Whether labels are looked up."""
        return self.supervision != "imagenet" and self.teacher is None


def table(patch: int, teachers: dict[str, Any]) -> list[Row]:
    """All rows; those of a teacher online once for each."""
    mixer = dtm.TokenMix(patch)
    return [
        Row("no mixing", None),
        Row(CUTMIX, dtm.CutMix(), paper="+0.0 %"),
        Row(BY_AREA, mixer, paper="+0.0 %"),
        Row("TokenMix + ReLabel", mixer, "relabel", paper="+0.8 %"),
        Row("TokenMix + TokenLabeling", mixer, "tokenlabeling", paper="+0.8 %"),
        Row(STORED, mixer, "tokenmix", paper="+0.8 %"),
        *(Row(f"TokenMix + TokenMix ({name})", mixer, "tokenmix", made) for name, made in teachers.items()),
        *(Row(f"{type(one).__name__} + ImageNet", one, usual=False) for one in METHODS),
        *(
            Row(f"AttentiveCutMix + ImageNet ({name})", dtm.AttentiveCutMix(), teacher=made, usual=False)
            for name, made in teachers.items()
        ),
    ]


def known_teachers(most: int) -> list[str]:
    """Names for Teacher.from_name of what is installed, cheap ones first."""
    try:
        importlib.import_module(PACKAGE)
    except ModuleNotFoundError:
        return [*RESNETS][:most]
    return [LITE0, *RESNETS][:most]
