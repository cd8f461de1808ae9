"""The rows of all results of one device, and how a plot picks its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from results import read

Row = dict[str, Any]


class Missing(Exception):
    """There are no rows for a plot; the message says which."""


class Found:
    """Rows of the CSV files of a device. Each has its setting as a dict besides, under "at"."""

    def __init__(self, folder: Path, device: str) -> None:
        self.rows: list[Row] = []
        for path in sorted(folder.glob(f"*-{device}.csv")):
            for row in read(path):
                row["at"] = dict(word.split("=", 1) for word in row["setting"].split() if "=" in word)
                self.rows.append(row)

    def of(self, benchmark: str, *metrics: str, curve: str | None = None) -> list[Row]:
        """Rows with one of these metrics, in order. curve: of kernels' scaling; None: of none."""
        return [
            row
            for row in self.rows
            if row["benchmark"] == benchmark and row["metric"] in metrics and row["at"].get("curve") == curve
        ]

    def needed(self, benchmark: str, *metrics: str) -> list[Row]:
        """The same. Raises Missing if there are none."""
        if rows := self.of(benchmark, *metrics):
            return rows
        raise Missing(f"no rows of {benchmark} with {' or '.join(metrics)}")


def by_case(rows: list[Row]) -> dict[str, Row]:
    """The last row of each case, in the order of the first."""
    return {row["case"]: row for row in rows}
