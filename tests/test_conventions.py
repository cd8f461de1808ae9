"""What the code promises about itself: who imports whom, what mixers document, where portability lives."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import dali_tokenmix
import dali_tokenmix.mixers
from dali_tokenmix.runtime import sources

PACKAGE = Path(dali_tokenmix.__file__).parent
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
MIXERS = [getattr(dali_tokenmix.mixers, name) for name in dali_tokenmix.mixers.__all__]
FRAMEWORKS = {"lightning": "lightning", "accelerate": "accelerate", "transformers": "trainer"}  # library: module
# Who may import what, as file patterns; a folder stands for all in it. NumPy is everybody's.
MAY_IMPORT = {
    "nvidia": {
        *(
            "pipeline.py",
            "op.py",
            "nodes.py",
            "label_nodes.py",
            "placing_nodes.py",
            "fn.py",
            "dynamic.py",
            "run.py",
            "readable.py",
            "lifetime.py",
        ),
        *("decorators.py", "commands/trial.py", "label_store/maker.py", "sources/readers.py"),
    },
    **{name: {f"frameworks/{module}.py"} for name, module in FRAMEWORKS.items()},
    "cupy": {"runtime", "op.py", "streams.py", "devices.py"},
    "ctypes": {"runtime", "lifetime.py", "devices.py"},
    "scipy": {"optimised"},
    "torch": {
        "teacher",
        "optimised",
        "frameworks",
        "nn",
        "losses.py",
        "loader.py",
        "run.py",
        "processes.py",
        "op.py",
        "streams.py",
        "label_store/maker.py",
        "label_store/importer.py",
    },
}
COMMANDS = {
    f"commands/{name}.py" for name in ("demo", "demo_data", "demo_methods", "demo_teacher", "doctor", "make_labels")
}  # these may import more, inside functions
NUMPY_ONLY = (
    "mixers/",
    "plan.py",
    "regions/",
    "label_maps.py",
    "labels.py",
    "reference/",
    "checks.py",
    "mixing.py",
)


def imports(path):
    """(top-level name, at the top of the module) of all that a module imports from outside the package."""
    tree = ast.parse(path.read_text())
    at_top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        else:
            continue
        for name in names:
            yield name.split(".")[0], id(node) in at_top


def may_import(module, library):
    return any(fnmatch(module, allowed) or module.split("/")[0] == allowed for allowed in MAY_IMPORT[library])


@pytest.mark.parametrize("module", MODULES)
def test_arrows(module):
    for library, at_top in imports(MODULES[module]):
        if library in MAY_IMPORT:
            lazily = module in COMMANDS and not at_top
            assert may_import(module, library) or lazily, f"{module} imports {library}"


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith(NUMPY_ONLY)])
def test_numpy_only(module):
    outside = {library for library, _ in imports(MODULES[module])}
    assert outside - sys.stdlib_module_names <= {"numpy"}
    assert "ctypes" not in outside


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_arrows_are_drawn_for_libraries_in_use(library):
    users = {module for module, path in MODULES.items() if library in dict(imports(path))}
    assert any(may_import(module, library) for module in users)


def test_arrows_see_an_import(tmp_path):
    written = tmp_path / "module.py"
    written.write_text("import torch.cuda as t\nfrom . import x\ndef f():\n    from nvidia.dali import fn\n")
    assert list(imports(written)) == [("torch", True), ("nvidia", False)]


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"nvidia", "torch", "cupy", "timm", "torchvision", "PIL", "skimage"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import torch
except ImportError:
    pass
else:
    sys.exit("the blocker does not block")

import numpy as np
import dali_tokenmix as dtm

for mixer in (dtm.TokenMix(8), dtm.CutMix(), dtm.MixUp(), dtm.Choice([dtm.TokenMix(8), dtm.MixUp()])):
    plan = dtm.draw(mixer, 4, 32, seed=1)
    images = np.arange(4, dtype=np.uint8).repeat(32 * 32 * 3).reshape(4, 32, 32, 3)
    assert dtm.apply(plan, images) is images and len(np.unique(images)) > 1
    assert abs(dtm.soft_targets(plan, [0, 1, 2, 3], 4).sum() - 4) < 1e-5
try:
    dtm.Loader
except ImportError as error:
    print(error)
"""


def test_drawing_and_mixing_need_numpy_only():
    ran = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "is blocked" in ran.stdout


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"torch", "cupy", "nvidia.dali", *FRAMEWORKS}
    code = f"import sys, dali_tokenmix; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_frameworks_are_not_imported_before_they_are_asked_for():
    code = f"import sys; from dali_tokenmix import frameworks; print(sorted({set(FRAMEWORKS)} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("name", dali_tokenmix.__all__)
def test_public_names_are_there_and_documented(name):
    assert inspect.getdoc(getattr(dali_tokenmix, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Tokenmix'"):
        dali_tokenmix.Tokenmix  # noqa: B018


@pytest.mark.parametrize(
    "mixer", [m for m in MIXERS if m.__name__ not in ("Choice", "Sequence")], ids=lambda m: m.__name__
)
def test_every_mixer_names_its_paper(mixer):
    assert re.search(r"arXiv \d{4}\.\d{5}", inspect.getdoc(mixer))


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda m: m.__name__)
def test_every_argument_of_a_mixer_is_documented(mixer):
    described = inspect.getdoc(mixer)
    for name in inspect.signature(mixer).parameters:
        assert re.search(rf"^ *([a-z_]+, )*{name}(, [a-z_]+)*:", described, re.MULTILINE), name


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda m: m.__name__)
def test_options_of_a_mixer_are_keyword_only(mixer):
    positional = [p.name for p in inspect.signature(mixer).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    others = {
        "TokenMix": ["patch_size"],
        "Choice": ["mixers", "weights"],
        "AttentiveCutMix": [],
        "AugMix": [],
        "RICAP": ["beta"],
        "ResizeMix": ["scale"],
        "Cutout": ["length"],
        "RandomErasing": [],
        "HideAndSeek": [],
        "Sequence": ["mixers"],
    }
    assert positional == others.get(mixer.__name__, ["alpha"])


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda m: m.__name__)
def test_a_mixer_is_a_file_with_shapes_and_draw(mixer):
    assert list(inspect.signature(mixer.draw).parameters) == ["self", "rng", "batch"]
    assert list(inspect.signature(mixer.shapes).parameters) == ["self", "image_size"]
    assert mixer.__name__ in dali_tokenmix.__all__


@pytest.mark.parametrize("path", sorted(sources.directory().iterdir()), ids=lambda path: path.name)
def test_only_common_cuh_knows_which_compiler_is_reading(path):
    knows = re.search(r"__CUDA|__GNUC__|__clang__|_MSC_VER|__global__|__device__|blockIdx|threadIdx", path.read_text())
    assert bool(knows) == (path.name == "common.cuh")


@pytest.mark.parametrize("path", sorted(sources.directory().glob("*.cu")), ids=lambda path: path.name)
def test_every_kernel_has_a_definition_in_numpy_or_is_compiled_into_the_cpu_library(path):
    assert f'#include "{path.name}"' in (sources.directory() / "host.cpp").read_text()


@pytest.mark.parametrize("module", MODULES)
def test_no_module_touches_global_random_state(module):
    text = MODULES[module].read_text()
    assert not re.search(r"np\.random\.(seed|rand|randn|randint|choice|shuffle|permutation|beta|uniform)\b", text)
    assert "random" not in dict(imports(MODULES[module]))
