"""The API reference: it builds, every public name is in it, and every argument is documented."""

from __future__ import annotations

import html
import importlib.util
import inspect
import re
import subprocess
import sys

import pytest

import dali_tokenmix as dtm
from tests.pages import ROOT

OTHERWISE = {  # made by something else, or by torch's way of writing modules
    "LabelStore": "LabelStore.open",
    "Plan": "draw",
    "TokenTargets": "Loader",
    "losses.SoftTargetCrossEntropy": "losses.soft_target_cross_entropy",
    "losses.SoftTargetBCE": "losses.soft_target_bce",
}


def public():
    """{name: object} of all that users call: dtm.__all__, and what its modules hold."""
    found = {}
    for name in dtm.__all__:
        value = getattr(dtm, name)
        if not inspect.ismodule(value):
            found[name] = value
            continue
        own = [k for k, v in vars(value).items() if getattr(v, "__module__", None) == value.__name__ and callable(v)]
        for inner in getattr(value, "__all__", own):
            if not inner.startswith("_"):
                try:
                    found[f"{name}.{inner}"] = getattr(value, inner)
                except ImportError:
                    continue  # of a framework that is not installed
    return found


PUBLIC = public()


def own_methods(kind):
    for name, value in vars(kind).items():
        if not name.startswith("_") and (callable(value) or isinstance(value, property | classmethod | staticmethod)):
            yield name, getattr(kind, name)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in OTHERWISE])
def test_every_argument_is_documented(name):
    described = inspect.getdoc(PUBLIC[name]) or ""
    arguments = [p for p in inspect.signature(PUBLIC[name]).parameters if p not in ("args", "kwargs")]
    lost = [a for a in arguments if not re.search(rf"^ *([a-z_]+, )*{a}(, [a-z_]+)*:", described, re.MULTILINE)]
    assert lost == []


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_has_a_docstring(name):
    kind = PUBLIC[name]
    assert kind.__doc__
    if inspect.isclass(kind):
        assert [method for method, value in own_methods(kind) if not inspect.getdoc(value)] == []


def test_the_reference_holds_every_public_name(tmp_path):
    if importlib.util.find_spec("pdoc") is None:
        pytest.skip("pdoc is not installed")
    built = subprocess.run(
        [sys.executable, ROOT / "docs" / "reference.py", "--out", tmp_path], capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stderr
    lost = [line for line in built.stderr.splitlines() if "Warning" in line]
    assert lost == []
    for name, value in PUBLIC.items():
        module, _, inner = name.rpartition(".")
        path = f"dali_tokenmix/{module}.html" if module else "dali_tokenmix.html"
        page = (tmp_path / path).read_text()
        assert f'id="{inner}"' in page, name
        words = re.findall(r"[A-Za-z]{4,}", inspect.getdoc(value).split("\n")[0])
        section = re.sub(r"<[^>]+>", "", html.unescape(page))
        assert all(word in section for word in words), name
