"""CoMixup: a batch mixed jointly, salient and diverse (Kim et al., ICLR 2021, arXiv 2102.03065)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from ..checks import integer, number
from ..mixing import generator
from .cells import Grid, areas, edges, salience
from .inputs import Layout, as_given, checked, fitting, grid_of, mixed_targets
from .joint import Parts


@dataclass(frozen=True, kw_only=True)
class CoMixup:
    """Mixes a batch jointly: each image shows salient parts of several (Kim et al., ICLR 2021, arXiv 2102.03065).

    For the training step, not for a Loader: it needs the saliency of the model that is trained, see input_saliency().
    A batch is mixed in parts of m images. In each m new ones are made, each cell of which shows one of the m, so that

        sum over outputs     -saliency of what shows - eta / n log p + beta / n for each border between two inputs
        + gamma / n          max(tau m n^2, sum over outputs j != k of o[j] A o[k])

    is small: n cells; saliency of sum 1 for each input; p ~ Dirichlet(alpha), a preference among inputs; o[j] how many
    cells output j shows of each input; A = (1 - omega) I + omega * (distance between the inputs' most salient cells, of
    mean 1 a row). Outputs that show the same pay, down to a share tau of what they would if the part were shown evenly.
    Scales are those of the released code, so that the values of beta, gamma, eta, tau and omega mean the same.

    Args:
        grid: cells, one number for both sides or (rows, columns).
        part: m, the most images that are mixed with each other; a batch is split as evenly as it can be.
        alpha: > 0, of the Dirichlet.
        beta: >= 0, smoothness.
        gamma: >= 0, diversity.
        eta: >= 0, weight of the preference.
        tau: >= 0, up to where outputs may show the same for nothing.
        omega: in [0, 1], weight of the distance.
        iterations: >= 0, rounds over the outputs; ends earlier where nothing changes.

    The algorithm is the paper's: from random labels, output after output by graph cuts, what outputs share as a cost by
    cell. Deviations: alpha-expansion (the released code: alpha-beta swap), taken only where the objective falls; tau
    clips the sum, as the formula says (the released code: each input on its own); a cell shows one input (there: halves
    of two as well); no second pass against equal outputs. NumPy and SciPy do this on the CPU while the batch waits:
    some ms an image, beside the saliency's own pass through the model.
    """

    grid: int | Grid = 4
    part: int = 20
    alpha: float = 2.0
    beta: float = 0.32
    gamma: float = 1.0
    eta: float = 0.05
    tau: float = 0.83
    omega: float = 0.001
    iterations: int = 4

    not_in_a_graph = "it needs the saliency of the model that is trained, so it belongs into the training step"

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", grid_of(self.grid))
        integer("part", self.part, at_least=1)
        number("alpha", self.alpha, above=0)
        for name in ("beta", "gamma", "eta", "tau"):
            number(name, getattr(self, name), at_least=0)
        number("omega", self.omega, at_least=0, at_most=1)
        integer("iterations", self.iterations, at_least=0)

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
        """(images, targets): as many mixed images as are given, and (N, num_classes) float32 targets on their device.

        A target holds the label of every image that shows, by its share of the pixels: often three or more.

        Args:
            images, labels, saliency, num_classes, smoothing, seed, layout: as in PuzzleMix.
            return_mask: also returns (N, rows, columns) int64 on the CPU: which image of the batch each cell shows.

        Raises TypeError for images of another type, ValueError for arrays that do not fit or values out of range.
        """
        given = checked(images, labels, saliency, num_classes, smoothing, layout)
        samples, size = len(given.pixels), (given.pixels.shape[2], given.pixels.shape[3])
        grid = fitting(grid_of(self.grid), size)
        sources = self._sources(generator(seed), salience(given.maps, grid, size), grid)
        shares = np.zeros((samples, samples))
        np.add.at(shares, (np.arange(samples)[:, None], sources), areas(grid, size))
        mask = torch.from_numpy(sources.reshape(samples, *grid))
        out = as_given(_shown(given.pixels, mask), given), mixed_targets(shares, given)
        return (*out, mask) if return_mask else out

    def _sources(self, rng: np.random.Generator, seen: np.ndarray, grid: Grid) -> np.ndarray:
        """(N, cells) which sample each cell of each output shows, for saliency (N, cells)."""
        members = np.array_split(np.arange(len(seen)), -(-len(seen) // self.part))
        parts, labels = self._parts(rng, [seen[of] for of in members], grid)
        labels = parts.optimised(labels, self.iterations)
        return np.concatenate([of[labels[k, : len(of)]] for k, of in enumerate(members)])

    def _parts(self, rng: np.random.Generator, seen: list[np.ndarray], grid: Grid) -> tuple[Parts, np.ndarray]:
        """The parts, from each one's saliency (inputs, cells), and the random labels to begin with."""
        most, cells = max(map(len, seen)), grid[0] * grid[1]
        cost, alike = np.full((len(seen), cells, most), np.inf), np.zeros((len(seen), most, most))
        labels = np.zeros((len(seen), most, cells), np.int64)
        for k, maps in enumerate(seen):
            inputs = len(maps)
            preference = np.log(np.maximum(rng.dirichlet(np.full(inputs, self.alpha)), 1e-8))
            cost[k, :, :inputs] = -maps.T - self.eta / cells * preference
            alike[k, :inputs, :inputs] = (1 - self.omega) * np.eye(inputs) + self.omega * _distances(maps, grid)
            labels[k, :inputs] = rng.integers(0, inputs, (inputs, cells))
        inputs_of = np.array(list(map(len, seen)))
        limit = self.tau * inputs_of * float(cells) ** 2
        return Parts(cost, alike, inputs_of, grid, self.beta / cells, self.gamma / cells, limit), labels


def _distances(maps: np.ndarray, grid: Grid) -> np.ndarray:
    """(m, m) the distance, rows and columns added, between the most salient cells; of mean 1 a row, or 0 throughout."""
    row, column = np.divmod(maps.argmax(1), grid[1])
    far = np.abs(np.subtract.outer(row, row)) + np.abs(np.subtract.outer(column, column))
    return np.asarray(far * len(maps) / max(far.sum(), 1))


def _shown(pixels: Tensor, mask: Tensor) -> Tensor:
    """(N, C, H, W) images, each cell of which shows the image that mask (N, rows, columns) says."""
    out = torch.empty_like(pixels)
    sources = mask.to(pixels.device)
    rows, columns = (edges(side, cells) for side, cells in zip(pixels.shape[2:], mask.shape[1:], strict=True))
    for row in range(mask.shape[1]):
        for column in range(mask.shape[2]):
            cell = slice(rows[row], rows[row + 1]), slice(columns[column], columns[column + 1])
            out[:, :, cell[0], cell[1]] = pixels[:, :, cell[0], cell[1]].index_select(0, sources[:, row, column])
    return out
