"""TokenMix, CutMix and MixUp inside an NVIDIA DALI pipeline, with soft labels."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .label_maps import TokenTargets, crop_labels, token_labels
from .labels import crop_maps, scored, soft_targets
from .mixers import *  # noqa: F403  # its own list of names
from .mixers import __all__ as _mixers
from .mixing import apply, draw
from .plan import Plan
from .saliency import Saliency

__version__ = "0.1.0"
__all__ = ["Loader", "Plan", "Saliency"]
__all__ += _mixers
__all__ += ["LabelStore", "Teacher", "apply", "crop_maps", "draw", "fn", "import_labels", "losses", "make_labels"]
__all__ += ["TokenTargets", "crop_labels", "dynamic", "frameworks", "scored", "soft_targets", "sources", "token_labels"]
__all__ += ["nn"]
__all__ += ["CoMixup", "PuzzleMix", "input_saliency"]

if TYPE_CHECKING:  # what __getattr__ gives, for type checkers and editors
    from . import dynamic, fn, frameworks, losses, nn, sources
    from .label_store import LabelStore
    from .label_store.importer import import_labels
    from .label_store.maker import make_labels
    from .loader import Loader
    from .optimised import CoMixup, PuzzleMix, input_saliency
    from .settings import IMAGENET_MEAN as IMAGENET_MEAN
    from .settings import IMAGENET_STD as IMAGENET_STD
    from .teacher import Teacher

# On first use: drawing, mixing and labels work without DALI and torch.
LAZY = {
    "Loader": ".loader",
    "IMAGENET_MEAN": ".settings",
    "IMAGENET_STD": ".settings",
    "Teacher": ".teacher",
    "LabelStore": ".label_store",
    "make_labels": ".label_store.maker",
    "import_labels": ".label_store.importer",
    "CoMixup": ".optimised",
    "PuzzleMix": ".optimised",
    "input_saliency": ".optimised",
}
EXTRAS = {"nvidia": "cuda12", "torch": "cuda12", "scipy": "optimised"}  # what a missing library comes with


def __getattr__(name: str) -> Any:
    try:
        if name in ("dynamic", "fn", "frameworks", "losses", "nn", "sources"):
            return import_module(f".{name}", __name__)
        if name in LAZY:
            return getattr(import_module(LAZY[name], __name__), name)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        install = f"pip install 'dali_tokenmix[{extra}]'" + (" (or [cuda13])" if extra == "cuda12" else "")
        raise ModuleNotFoundError(f"dali_tokenmix.{name} needs {error.name}: {install}", name=error.name) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
