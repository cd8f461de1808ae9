"""What each kernel has to move and to compute for one sample: the formulas behind roofline.py and gpu_check.py.

Bytes are those that must come from memory and go there once. What is read again is expected in a cache, and plan rows
count once a sample. Operations are additions, multiplications and divisions of floating point numbers, the most that
all threads together can come to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dali_tokenmix.regions import Size, TokenGrid
from dali_tokenmix.runtime.work import Work

HEAD, ID, FLOAT, HALF = 16, 4, 4, 2  # bytes: a plan row's partner, own, other and more; a class id; numbers
BOX, FLIP, LANES, EXP = 16, 4, 32, 20  # bytes; threads a row; operations of exp.cuh
ITEM = {"uint8": 1, "float16": 2, "float32": 4}
PASSES = {"x.flip(0)": 2, "flipped.mul_(1 - w)": 2, "x.mul_(w)": 2, "x.add_(flipped)": 3}  # timm's Mixup


@dataclass(frozen=True)
class Shapes:
    """A batch as the tables have it. share: of an image's pixels that come from the partner."""

    batch: int = 128
    height: int = 224
    width: int = 224
    channels: int = 3
    patch: int = 16
    share: float = 0.5
    classes: int = 1000
    map_size: Size = (7, 7)
    k: int = 5

    @property
    def grid(self) -> Size:
        return TokenGrid.of(self.patch, (self.height, self.width)).grid

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def token_row(self) -> int:
        """Bytes of a packed plan row: its head and a bit a token."""
        return HEAD + 4 * -(-self.tokens // 32)

    def image(self, dtype: str) -> int:
        """Bytes of an image."""
        return self.height * self.width * self.channels * ITEM[dtype]


@dataclass(frozen=True)
class Traffic:
    """Of one sample. work: the rows and lanes of the whole batch's launch. double: operations in double precision."""

    kernel: str
    what: str
    read: float
    written: float
    operations: float
    work: Work = field(compare=False)
    double: bool = False

    @property
    def bytes(self) -> float:
        return self.read + self.written


def mixing(kernel: str, dtype: str, layout: str, s: Shapes) -> Traffic:
    """exchange_tokens, exchange_box, blend or mirror, whatever the width of an access."""
    share, operations, image = s.share, 0.0, s.image(dtype)
    pixel, planes = (ITEM[dtype] * s.channels, 1) if layout == "NHWC" else (ITEM[dtype], s.channels)
    row, lanes = s.token_row, s.width * pixel // 16
    what = f"{s.height} x {s.width} x {s.channels} {dtype} {layout}"
    if kernel == "blend":
        row, share, operations = HEAD + FLOAT, 1.0, 3.0 * image / ITEM[dtype]
    elif kernel == "exchange_box":
        row = HEAD + BOX
    elif kernel == "mirror":
        row, lanes = FLIP, s.width // 2
    if share != 1.0:
        what = f"{share:.3g} of {what}"
    return Traffic(
        kernel, what, row + share * image, share * image, operations, Work(s.batch * planes * s.height, lanes)
    )


def composition(dtype: str, s: Shapes) -> int:
    """Bytes a sample that PyTorch's flip, mul, mul, add read and write."""
    return sum(PASSES.values()) * s.image(dtype)


def labels(s: Shapes) -> dict[str, Traffic]:
    """The kernels that make targets, by name."""
    (h, w), (gh, gw), c, n = s.map_size, s.grid, s.classes, s.batch
    cut, top = f"{h} x {w} to {gh} x {gw}", f"top {s.k} of {h} x {w}"
    points = [math.ceil(h / gh), math.ceil(w / gw)]  # of a crop that is the whole image: the most
    entries, weights = s.k * h * w, gh * h + gw * w
    found = s.k * (points[0] + 1) * (points[1] + 1)  # in a token's bin
    counted = [
        ("crop_maps", cut, FLOAT * h * w + BOX + 1, FLOAT * s.tokens, (20 * math.prod(points) + 7) * s.tokens),
        ("score", f"{gh} x {gw}", s.token_row + FLOAT * s.tokens, 8, 9 * s.tokens),
        ("targets", f"{c} classes", HEAD + ID, FLOAT * c, 4),
        ("relabel_pool", f"{top}, {c} classes", (ID + HALF) * entries + FLOAT * (h + w), FLOAT * c, 3 * entries),
        ("relabel_softmax", f"{c} classes", FLOAT * c, FLOAT * c, (LANES + 1) * (EXP + 2) * c),
        ("relabel_mix", f"{c} classes", HEAD + FLOAT * c, FLOAT * c, 4 * c),
        (
            "token_labels",
            f"{top} to {gh} x {gw}",
            s.token_row + (ID + HALF) * entries + FLOAT * weights,
            (ID + FLOAT) * s.k * s.tokens,
            (3 + EXP + 2) * found * s.tokens,
        ),
    ]
    work = {
        "crop_maps": Work(n * gh, gw),
        "score": Work(n, 1),
        "token_labels": Work(n * s.tokens, 1),
    }
    found_by_name = {
        name: Traffic(name, what, read, written, operations, work.get(name, Work(n, c)), name == "score")
        for name, what, read, written, operations in counted
    }
    return found_by_name | {"roi_weights": roi_weights(s, s.grid)}


def roi_weights(s: Shapes, grid: Size) -> Traffic:
    """For token_labels on the token grid, for relabel_pool on a grid of one cell."""
    (h, w), (gh, gw) = s.map_size, grid
    points, weights = max(math.ceil(h / gh), math.ceil(w / gw)), gh * h + gw * w
    work = Work(s.batch * (gh + gw), max(h, w))
    what = f"{h} x {w} to {gh} x {gw}"
    return Traffic("roi_weights", what, BOX + FLIP, FLOAT * weights, (8 * points + 1) * weights, work)


def scratch(s: Shapes) -> int:
    """Bytes a sample in which token_labels gathers the classes of each token's bin."""
    reached = [min(side, math.ceil(side / bins) + 2) for side, bins in zip(s.map_size, s.grid, strict=True)]
    return (ID + FLOAT) * s.k * math.prod(reached) * s.tokens
