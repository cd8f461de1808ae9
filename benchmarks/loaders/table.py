"""What was found, as rows for the CSV, as tables to read, and as what must hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from results import Results
from timing import spread

from .task import DECODE_CROP, FFCV, LOADERS, TOKEN_MIX, TORCHVISION
from .turns import Alone, Entrant, Timed

MUST, AIM = 1.9, 2.2  # times torchvision v1's images a second
MIB = 2**20

Measured = dict[Entrant, Timed]


def add_rows(results: Results, found: dict[str, Alone], measured: Measured, **setting: Any) -> None:
    """All figures of all entrants; ratios are by round, of those with as many workers."""
    for entrant, timed in measured.items():
        case, about = entrant.name, {"workers": entrant.workers} | setting
        results.add(case, "throughput", "images/s", list(timed.rate.values()), **about)
        results.add(case, "CPU time", "ms/image", 1e3 * np.array(list(timed.cpu.values())), **about)
        results.add(case, "first batch", "s", timed.first, **about)
        for base in (TORCHVISION, DECODE_CROP):
            if len(ratios := by_round(measured, entrant, base)):
                results.add(case, f"throughput by that of {base}", "ratio", ratios, **about)
    for case, alone in found.items():
        results.add(case, "peak memory", "MiB", alone.memory / MIB, **setting)
        results.add(case, "imports", "s", alone.imports, **setting)


def by_round(measured: Measured, entrant: Entrant, base: str) -> np.ndarray:
    """Images a second by those of another with as many workers, in the rounds that both took part in."""
    others = [timed for other, timed in measured.items() if (other.name, other.workers) == (base, entrant.workers)]
    mine = measured[entrant].rate
    return np.array([mine[k] / other.rate[k] for other in others for k in mine if k in other.rate])


def show(found: dict[str, Alone], measured: Measured, missing: dict[str, str], workers: int, judged: bool) -> None:
    """Prints the tables and, judged, what holds."""
    usual = {entrant.name: entrant for entrant in measured if entrant.workers == workers}
    print(f"{'images/s':27}{'':22}{'by torchvision v1':>20}{'of decode':>11}{'CPU ms':>8}{'first s':>9}{'MiB':>7}")
    for name, entrant in usual.items():
        timed = measured[entrant]
        share = by_round(measured, entrant, DECODE_CROP)
        print(f"{name:27}{spread(_array(timed.rate), 1, 0):>22}", end="")
        print(f"{spread(by_round(measured, entrant, TORCHVISION)):>20}", end="")
        print(f"{f'{np.median(share):.0%}' if len(share) and name in LOADERS else '':>11}", end="")
        print(f"{1e3 * np.median(_array(timed.cpu)):8.2f}", end="")
        print(f"{np.median(timed.first):9.2f}{found[name].memory / MIB:7.0f}" if name in LOADERS else "")
    for name, reason in missing.items():
        print(f"{name:27}left out: {reason}")
    _show_curve(measured)
    print()
    if not judged:
        print("  not judged: the targets are for the photographs and options that are the defaults")
        return
    for line, holds in claims(found, measured, usual):
        print(f"  {'holds ' if holds else 'MISSED'}  {line}")


def claims(found: dict[str, Alone], measured: Measured, usual: dict[str, Entrant]) -> list[tuple[str, bool]]:
    """What must hold, with its figures, and whether it does; of what took part."""
    if TOKEN_MIX not in usual:
        return []
    ours = usual[TOKEN_MIX]
    ratio = float(np.median(by_round(measured, ours, TORCHVISION)))
    first, theirs = (float(np.median(measured[usual[name]].first)) for name in (TOKEN_MIX, TORCHVISION))
    memory, other = (found[name].memory / MIB for name in (TOKEN_MIX, TORCHVISION))
    said = [
        (f"{TOKEN_MIX} / {TORCHVISION} {ratio:.2f} >= {MUST}", ratio >= MUST),
        (f"{TOKEN_MIX} / {TORCHVISION} {ratio:.2f} >= {AIM}, the aim", ratio >= AIM),
        (f"first batch {first:.2f} s < {theirs:.2f} s of {TORCHVISION}", first < theirs),
        (f"peak memory {memory:.0f} MiB < {other:.0f} MiB of {TORCHVISION}", memory < other),
    ]
    if FFCV in usual:
        ratio = float(np.median(by_round(measured, ours, FFCV)))
        said.append((f"{TOKEN_MIX} / {FFCV} {ratio:.2f} >= 1, the aim", ratio >= 1))
    return said


def _show_curve(measured: Measured) -> None:
    """Images a second by workers, where several numbers of them were tried."""
    counts = sorted({entrant.workers for entrant in measured})
    if len(counts) == 1:
        return
    print(f"\n{'images/s by workers':27}" + "".join(f"{count:>22}" for count in counts))
    for name in (TORCHVISION, TOKEN_MIX):
        rates = {entrant.workers: _array(timed.rate) for entrant, timed in measured.items() if entrant.name == name}
        print(f"{name:27}" + "".join(f"{spread(rates[count], 1, 0) if count in rates else '':>22}" for count in counts))


def _array(by_round: dict[int, float]) -> np.ndarray:
    return np.array(list(by_round.values()))
