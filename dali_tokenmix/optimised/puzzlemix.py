"""PuzzleMix: a mask and a transport that keep what is salient (Kim et al., ICML 2020, arXiv 2009.06962)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from ..checks import integer, number
from ..mixers.pairing import Pairing
from ..mixing import generator
from ..plan import Batch
from .cells import Grid, areas, cell_of, salience
from .contrast import contrasts
from .inputs import Given, Layout, as_given, check_std, checked, fitting, grid_of, mixed_targets, unit_scale
from .mask_levels import best_levels
from .transport import best_moves, moved

GRIDS = (2, 4, 8, 16)  # cells a side, one of them for each batch, as in the released code
TOGETHER = 8  # images mixed at once: as many as a cache holds


@dataclass(frozen=True, kw_only=True)
class PuzzleMix(Pairing):
    """Mixes pairs so that both keep what is salient (Kim et al., ICML 2020, arXiv 2009.06962).

    For the training step, not for a Loader: it needs the saliency of the model that is trained, see input_saliency().
    Each image gets a mask z over a grid of cells, the partner's part in each, that minimises

        sum over cells       -(1 - z) s - z s' - eta / n log p(z)
        + over neighbours    beta / (16 sqrt(n)) ((z - z')^2 + gamma phi)

    with s and s' the saliency of the sample and of its partner, each of sum 1 over the n cells; p binomial with mean
    lambda ~ Beta(alpha, alpha); and phi the contrast across the border in the mixed image, in [0, 1]. Then the cells of
    both images move, by the assignment that brings what is salient to where its image shows: a cell costs xi times its
    squared distance (1 for the longer side), less its saliency times what shows of its image where it goes. The scales
    are the released code's, so that the paper's values of beta, gamma, eta and xi mean the same.

    Args:
        grid: cells, one number for both sides or (rows, columns). None draws 2, 4, 8 or 16 a side for each call, as
            the released code does, of those that fit the image.
        levels: values of z, at least 2: 3 are {0, 1/2, 1}.
        alpha: > 0, of the prior's Beta.
        beta: >= 0, smoothness of the mask.
        gamma: in [0, 1], smoothness of the image, as a part of beta; beyond 1 the objective would not be submodular.
        eta: >= 0, weight of the prior.
        transport: move cells.
        xi: >= 0, the price of moving them.
        std: what floating images were divided by when they were normalised from [0, 1]: one number, or one a channel.
            Default: ImageNet's for 3 channels, else 1. It only scales phi.
        mode, partner, prob: as in TokenMix; a group shares its lambda, each sample has its own mask.

    The cut is exact for any number of levels (the paper: alpha-beta swaps), and so is the assignment (the paper: an
    iteration on the GPU); phi is bilinear in z and z' between 0 and 1 (the released code: linear in each; equal for two
    levels). phi compares the pixels at a border (the released code: means of 2 or 4 of them). The paper's partner is
    another sample by a permutation, here pairs mix with each other: the two of a pair look alike where lambda and
    1 - lambda do. NumPy and SciPy do this on the CPU while the batch waits: some ms an image of 224 pixels, most of it
    for moving pixels; cutting takes its share from 16 x 16 cells on. The saliency costs more, nearly another step.
    """

    grid: int | Grid | None = None
    levels: int = 3
    alpha: float = 1.0
    beta: float = 1.2
    gamma: float = 0.5
    eta: float = 0.2
    transport: bool = True
    xi: float = 0.8
    std: float | Sequence[float] | None = None

    not_in_a_graph = "it needs the saliency of the model that is trained, so it belongs into the training step"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid is not None:
            object.__setattr__(self, "grid", grid_of(self.grid))
        integer("levels", self.levels, at_least=2, at_most=16)
        number("alpha", self.alpha, above=0)
        number("beta", self.beta, at_least=0)
        number("gamma", self.gamma, at_least=0, at_most=1)
        number("eta", self.eta, at_least=0)
        number("xi", self.xi, at_least=0)
        check_std(self.std)
        if not isinstance(self.transport, bool):
            raise TypeError(f"transport must be True or False, got {self.transport!r}")

    @overload
    def __call__(
        self, images: Tensor, labels: Any, saliency: Any, *, num_classes: int, seed: int, smoothing: float = ...,
        layout: Layout | None = ..., return_mask: Literal[False] = ...,
    ) -> tuple[Tensor, Tensor]: ...  # fmt: skip

    @overload
    def __call__(
        self, images: Tensor, labels: Any, saliency: Any, *, num_classes: int, seed: int, smoothing: float = ...,
        layout: Layout | None = ..., return_mask: Literal[True],
    ) -> tuple[Tensor, Tensor, Tensor]: ...  # fmt: skip

    def __call__(
        self,
        images: Tensor,
        labels: Any,
        saliency: Any,
        *,
        num_classes: int,
        seed: int,
        smoothing: float = 0.1,
        layout: Layout | None = None,
        return_mask: bool = False,
    ) -> tuple[Tensor, ...]:
        """(images, targets): mixed images like those given, and (N, num_classes) float32 targets on their device.

        A target is (1 - z) of the sample's label and z of its partner's, z the mask's mean over the pixels.

        Args:
            images: (N, H, W, C) or (N, C, H, W), uint8, float16, bfloat16 or float32. Not written to.
            labels: (N,) class ids or (N, num_classes) rows, tensors or arrays.
            saliency: (N, h, w) >= 0 of any resolution, over the whole image; such as input_saliency() gives.
            num_classes, smoothing: as in soft_targets().
            seed: in [0, 2**64), another one for each batch; equal seeds draw the same.
            layout: "NHWC" or "NCHW"; only needed where the shape leaves it open.
            return_mask: also returns the mask, (N, rows, columns) float32 on the CPU, the partner's part in each cell.

        Raises TypeError for images of another type, ValueError for arrays that do not fit or values out of range.
        """
        given = checked(images, labels, saliency, num_classes, smoothing, layout)
        samples, size = len(given.pixels), (given.pixels.shape[2], given.pixels.shape[3])
        rng = generator(seed)
        grid = self._grid(rng, size)
        pairs = self.pairs(rng, Batch(samples, size, samples))
        share = rng.beta(self.alpha, self.alpha, pairs.groups)[pairs.group]
        mixed, partner = np.flatnonzero(pairs.mixed), pairs.partner
        mask = np.zeros((samples, grid[0] * grid[1]))
        own = salience(given.maps, grid, size)
        if len(mixed):
            mask[mixed] = self._masks(given, own, partner, share, mixed, grid)
        pixels = self._mixed(given.pixels, own, partner, mask, mixed, grid)
        other = mask @ areas(grid, size)
        shares = np.diag(1 - other)
        shares[np.arange(samples), partner] += other
        out = as_given(pixels, given), mixed_targets(shares, given)
        return (*out, torch.from_numpy(mask.reshape(samples, *grid).astype(np.float32))) if return_mask else out

    def _grid(self, rng: np.random.Generator, size: Grid) -> Grid:
        if self.grid is None:
            side = int(rng.choice([cells for cells in GRIDS if cells <= min(size)] or [1]))
            return side, side
        return fitting(grid_of(self.grid), size)

    def _masks(
        self, given: Given, own: np.ndarray, partner: np.ndarray, share: np.ndarray, mixed: np.ndarray, grid: Grid
    ) -> np.ndarray:
        """(len(mixed), cells): the masks of the samples that are mixed."""
        cells = grid[0] * grid[1]
        contrast = contrasts(given.pixels, partner, grid, unit_scale(given.pixels, self.std))
        weights = {"beta": self.beta / 16 / math.sqrt(cells), "gamma": self.gamma, "eta": self.eta / cells}
        other = own[partner][mixed]
        chosen = best_levels(own[mixed], other, contrast[mixed], share[mixed], grid, levels=self.levels, **weights)
        return chosen / (self.levels - 1)

    def _mixed(
        self, pixels: Tensor, own: np.ndarray, partner: np.ndarray, mask: np.ndarray, mixed: np.ndarray, grid: Grid
    ) -> Tensor:
        """The images, those of `mixed` with their partner's where the mask says so."""
        out = pixels.clone()
        for some in np.array_split(mixed, -(-len(mixed) // TOGETHER)) if len(mixed) else ():
            sides = ((some, 1 - mask[some]), (partner[some], mask[some]))
            one, other = (self._moved(pixels[of], own[of], visible, grid) for of, visible in sides)
            out[some] = blended(one, other, mask[some].reshape(-1, *grid))
        return out

    def _moved(self, pixels: Tensor, salience: np.ndarray, visible: np.ndarray, grid: Grid) -> Tensor:
        return moved(pixels, best_moves(salience, visible, grid, self.xi), grid) if self.transport else pixels


def blended(one: Tensor, other: Tensor, mask: np.ndarray) -> Tensor:
    """(1 - z) one + z other, (N, C, H, W), with mask (N, rows, columns) in [0, 1] on the pixels; uint8 is rounded.

    Where z is 0 or 1 every bit is that of the one image.
    """
    rows, columns = (cell_of(side, cells) for side, cells in zip(one.shape[2:], mask.shape[1:], strict=True))
    z = torch.from_numpy(mask.astype(np.float32)[:, rows[:, None], columns][:, None]).to(one.device)
    between = torch.lerp(one.float(), other.float(), z)  # exact at both ends
    return (between.round_() if one.dtype == torch.uint8 else between).to(one.dtype)
