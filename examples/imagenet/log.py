"""log.csv, and TensorBoard if it is asked for. A run that goes on writes over what came after its checkpoint."""

from __future__ import annotations

import csv
import os
from pathlib import Path

COLUMNS = ("epoch", "step", "loss", "lr", "images_per_second", "accuracy", "ema_accuracy")


class Log:
    """Rows of COLUMNS: one for some steps each, and one with accuracies for every epoch.

    size: of the part that holds, in bytes; 0: a new log.
    """

    def __init__(self, folder: Path, *, size: int, step: int, tensorboard: bool) -> None:
        path = folder / "log.csv"
        if size and (not path.exists() or path.stat().st_size < size):
            raise ValueError(f"{path} must be the log of the run that goes on, it is missing or too short")
        self._file = path.open("r+" if size else "w", newline="")
        self._file.truncate(size)
        self._file.seek(0, os.SEEK_END)
        self._rows = csv.DictWriter(self._file, COLUMNS)
        self._board = _board(folder, step) if tensorboard else None
        if not size:
            self._rows.writeheader()

    def write(self, **values: float | str) -> None:
        """A row; columns that are not given stay empty."""
        self._rows.writerow(
            {name: f"{value:.9g}" if isinstance(value, float) else value for name, value in values.items()}
        )
        self._file.flush()
        print("  ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True)
        for name in set(values) - {"epoch", "step"}:
            if self._board is not None:
                self._board.add_scalar(name, values[name], values["step"])

    def size(self) -> int:
        """In bytes, to be saved with the rest of the run."""
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def _board(folder: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("--log tensorboard needs tensorboard: pip install tensorboard, or --log csv") from error
    return SummaryWriter(str(folder), purge_step=step + 1)
