"""The report: a JSON file with all figures, and the same as Markdown tables."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from timing import describe_machine

from .place import Cpu

PACKAGES = re.compile(r"(cupy|nvidia-(dali|cuda-nvrtc)|torch|torchvision|timm|numpy|dali_tokenmix)[\w-]*$")
DRY = "**A dry run on the CPU: no figure here says anything about a GPU, and the CPU is compared with itself.**"


def machine(place: Cpu) -> dict[str, Any]:
    """What the figures hold for."""
    state = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "status", "--porcelain", "--untracked-files=no"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
    return {
        **place.describe(),
        "machine": describe_machine(),
        "changed since the commit": bool(state.stdout.strip()) if state.returncode == 0 else "unknown",
        "packages": {name: found[name] for name in sorted(found) if PACKAGES.match(name)},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
    }


def write(report: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """gpu-<card>.json and .md in folder; gpu-dry-run.* where there was no card. Each whole or not at all."""
    name = "dry-run" if report["dry_run"] else re.sub(r"[^a-z0-9]+", "-", report["machine"]["gpu"].lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"gpu-{name}.json", folder / f"gpu-{name}.md"
    for path, text in zip(paths, (json.dumps(report, indent=1) + "\n", markdown(report)), strict=True):
        written = path.with_name(path.name + ".part")
        written.write_text(text)
        os.replace(written, path)
    return paths


def markdown(report: dict[str, Any]) -> str:
    """Medians, p20..p80 in brackets."""
    found = report["machine"]
    lines = [f"# gpu_check: {found['gpu']}", ""]
    if report["dry_run"]:
        lines += [DRY, ""]
    lines += [f"- {key}: {_value(value)}" for key, value in found.items()]
    lines += [f"- shapes: {_value(report['shapes'])}", f"- rounds: {report['rounds']}", ""]
    for name, section in report["sections"].items():
        lines += [f"## {name}: {section['status']}, {section['seconds']:.1f} s", "", section["about"], ""]
        if section.get("reason"):
            lines += ["```", section["reason"], "```", ""]
        lines += table(section.get("rows", []))
    return "\n".join(lines).rstrip() + "\n"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table with a column for every key of any row."""
    if not rows:
        return []
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(_value(row[key]) if key in row else "" for key in columns) + " |" for row in rows]
    return [*lines, ""]


def _value(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"p20", "p50", "p80"}:
        low, middle, high = (_number(value[key]) for key in ("p20", "p50", "p80"))
        return f"{middle} ({low}..{high})"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """Three digits, without an exponent where there is room."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"
