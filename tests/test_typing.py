"""What a type checker knows in somebody else's script: the lazy names have their own types."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = """
import dali_tokenmix as dtm

loader: dtm.Loader = dtm.Loader("photos", batch_size=16, mixer=dtm.TokenMix())
for images, targets in loader:
    reveal_type(images)
reveal_type(len(loader))
reveal_type(dtm.Loader)
reveal_type(dtm.Teacher)
reveal_type(dtm.LabelStore.open)
reveal_type(dtm.fn.token_mix)
reveal_type(dtm.make_labels)
reveal_type(dtm.losses.TokenLabelingLoss)
reveal_type(dtm.nn.ManifoldMixup)
reveal_type(dtm.sources.Folder)
reveal_type(dtm.dynamic.token_mix)
reveal_type(dtm.IMAGENET_MEAN)
reveal_type(dtm.draw(dtm.MixUp(), 4, 32))
dtm.Loader("photos", batchsize=16)
"""


def test_a_script_of_a_user_is_checked_under_strict(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    options = ["--strict", "--follow-imports=silent", "--config-file", os.devnull]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--cache-dir", ROOT / ".mypy_cache" / "script", script],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    seen = re.findall(r'Revealed type is "(.*)"', ran.stdout)
    errors = re.findall(r": error: (.*)", ran.stdout)
    assert [error.split("  [")[0] for error in errors] == [
        'Unexpected keyword argument "batchsize" for "Loader"; did you mean "batch_size"?'
    ], ran.stdout
    assert len(seen) == 13
    assert not [known for known in seen if known == "Any"], ran.stdout
    for known, expected in zip(
        seen,
        ["torch._tensor.Tensor", "int", "loader.Loader", "Teacher", "LabelStore", "num_classes", "LabelStore"],
        strict=False,
    ):
        assert expected in known
