"""The API reference, from docstrings: python docs/reference.py [--out build/docs]. Needs pdoc."""

from __future__ import annotations

import argparse
import inspect
import warnings
from pathlib import Path
from types import ModuleType

import pdoc

import dali_tokenmix
from dali_tokenmix import mixers
from dali_tokenmix.mixers import pairing
from dali_tokenmix.regions import fill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/docs"), help="folder of the pages")
    out = parser.parse_args().out
    # annotations of inherited fields: pdoc looks them up where the heir is shown
    for mixer in [*(getattr(mixers, name) for name in mixers.__all__), dali_tokenmix.PuzzleMix]:
        vars(inspect.getmodule(mixer)).update(Mode=pairing.Mode, Partner=pairing.Partner)
        vars(inspect.getmodule(mixer)).update(FillKind=fill.FillKind, FillValue=fill.FillValue)
    warnings.filterwarnings("ignore", message=".*TokenTargets.__init__")  # of Python's making, with no namespace
    # what is imported on first use: pdoc looks only at what is there
    vars(dali_tokenmix).update({name: getattr(dali_tokenmix, name) for name in dali_tokenmix.__all__})
    modules = [name for name in dali_tokenmix.__all__ if inspect.ismodule(getattr(dali_tokenmix, name))]
    for name in modules:
        module: ModuleType = getattr(dali_tokenmix, name)
        vars(module).update({inner: getattr(module, inner) for inner in getattr(module, "__all__", ())})
    pdoc.render.configure(docformat="google", footer_text=f"dali_tokenmix {dali_tokenmix.__version__}")
    others = rf"!dali_tokenmix\.(?!({'|'.join(modules)})$)"
    pdoc.pdoc("dali_tokenmix", others, output_directory=out)
    print(f"{out / 'dali_tokenmix.html'}: {len(dali_tokenmix.__all__)} names, and the modules {', '.join(modules)}")


if __name__ == "__main__":
    main()
