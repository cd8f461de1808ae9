"""MixToken: CutMix of patch tokens (Jiang et al., NeurIPS 2021, arXiv 2104.10858)."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import choice, integer
from ..label_maps import TokenTargets
from ..mixers import CutMix
from ..mixing import draw
from ..plan import Plan, untouched
from ..regions import BoxShape, TokenGrid, kinds
from .in_network import InNetwork


class MixToken(InNetwork):
    """A box of the partner's tokens replaces the same box, after patch embedding (Jiang et al., arXiv 2104.10858).

    The mixer draws on the token grid, a token being its pixel: boxes have whole tokens. Image labels are weighed by the
    share of the tokens, labels of tokens go with their tokens.

        mix = dtm.nn.MixToken(model, num_classes=1000)
        for images, labels in loader:
            with mix(labels) as targets:
                logits = model(images)

    Args:
        model: the network. torch.compile and DistributedDataParallel may be around it, before or after this.
        layer: the module whose output is mixed, as named_modules() has it: (N, T, C) tokens row by row, or a map
            (N, gh, gw, C) or (N, C, gh, gw).
        grid: (rows, columns) of tokens, or one number for both. None: the layer's grid_size, which timm's PatchEmbed
            has. It may be set anew between batches, for images of another size. Where the layer is finer by a whole
            factor, a cell is that many tokens a side: those that later layers make one token of, in Swin and VOLO.
        prefix_tokens: how many class and register tokens come before the others in (N, T, C); they are left alone. 0
            for a patch embedding, which has none yet.
        layout: "NHWC" or "NCHW" of a map; only needed where the shape leaves it open.
        mixer: what draws boxes and partners: CutMix, or TokenMix, whose patch_size then counts tokens. The paper has
            lambda ~ Beta(1, 1), CutMix's own.
        num_classes, smoothing, seed: as in ManifoldMixup.

    The released code draws one box for a batch and pairs by flipping it: CutMix(mode="batch"). It changes the output
    tokens back before the token loss, which then takes labels as they were: the same sum, in another order.

    Raises TypeError or ValueError for arguments that do not fit, ValueError for an unknown layer, with those near it.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layer: str = "patch_embed",
        grid: int | tuple[int, int] | None = None,
        prefix_tokens: int = 0,
        layout: Literal["NHWC", "NCHW"] | None = None,
        mixer: Any = CutMix(1.0),  # noqa: B008  # frozen
        num_classes: int | None = None,
        smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.prefix_tokens = integer("prefix_tokens", prefix_tokens, at_least=0)
        choice("layout", layout, (None, "NHWC", "NCHW"))
        self.layout = layout
        super().__init__(model, [layer], mixer=mixer, num_classes=num_classes, smoothing=smoothing, seed=seed)
        try:
            self.grid = self._own_grid() if grid is None else grid
        except (TypeError, ValueError):
            self.remove()
            raise

    def begin(self, labels: Any, *, seed: int | None = None) -> Any:
        """As of ManifoldMixup; labels may be TokenTargets too, and targets are TokenTargets then.

        Raises what that raises, and ValueError for labels of tokens of another grid.
        """
        if not isinstance(labels, TokenTargets):
            return super().begin(labels, seed=seed)
        targets = super().begin(labels.targets, seed=seed)
        try:
            return TokenTargets(targets, *(self.mixed(torch.as_tensor(part)) for part in labels[1:]))
        except ValueError:
            self._open = False
            raise

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens."""
        return self._grid

    @grid.setter
    def grid(self, given: int | tuple[int, int]) -> None:
        sides = tuple(given) if isinstance(given, tuple | list) else (given, given)
        if len(sides) != 2:
            raise ValueError(f"grid must be (rows, columns) or one number for both, got {given!r}")
        grid = integer("grid", sides[0], at_least=1), integer("grid", sides[1], at_least=1)
        shapes = self.mixer.shapes(grid)
        if kinds(shapes):
            raise ValueError(f"mixer must draw without looking at the images, as CutMix does, got {self.mixer!r}")
        for shape in shapes:
            if not isinstance(shape, BoxShape | TokenGrid):
                raise ValueError(f"mixer must give each token to one sample, as CutMix does, got {self.mixer!r}")
            if isinstance(shape, TokenGrid) and shape.patch_size > min(grid):
                raise ValueError(
                    f"mixer must fit the grid of {grid[0]} x {grid[1]} tokens, its patch_size counts tokens: "
                    f"TokenMix(patch_size=1), got {self.mixer!r}"
                )
        self._grid = grid

    def mixed(self, values: Tensor) -> Tensor:
        """What belongs to tokens, from whoever shows there in the batch begun last: (N, T, ...) or (N, gh, gw, ...).

        For labels of tokens of any kind: dense (N, T, C), or class ids (N, T, k) and their probabilities; without
        a class token. In eval mode they stay as they are.

        Raises RuntimeError before the first batch, ValueError for values of another grid.
        """
        if self.plan is None:
            raise RuntimeError("mixed() before begin(): there is no batch to mix like")
        rows, columns = self.grid
        flat = tuple(values.shape[:2]) == (len(self.plan), rows * columns)
        if not flat and tuple(values.shape[:3]) != (len(self.plan), rows, columns):
            raise ValueError(
                f"values must be ({len(self.plan)}, {rows * columns}, ...) or ({len(self.plan)}, {rows}, {columns}, "
                f"...), got shape {tuple(values.shape)}"
            )
        sources = torch.from_numpy(self.arrays_of(self.plan)[0]).to(values.device, non_blocking=True)
        tokens = values.reshape(len(self.plan), rows * columns, -1)
        return _shown(tokens, sources.flatten(1), 2).reshape(values.shape)

    def drawn(self, samples: int, seed: int) -> tuple[Plan, str]:
        """The plan of draw(mixer, samples, grid, seed)."""
        return draw(self.mixer, samples, self.grid, seed), self.layers[0]

    def untouched(self, samples: int) -> Plan:
        """No token for anybody else."""
        return untouched(samples, self.grid, self.mixer.shapes(self.grid))

    def arrays_of(self, plan: Plan) -> tuple[np.ndarray, ...]:
        """(N, gh, gw) int64: the sample whose token shows."""
        return (plan.sources().astype(np.int64),)

    def mix_hidden(self, hidden: Tensor, *tensors: Tensor) -> Tensor:
        """Each token from whoever shows in its place."""
        return _shown(hidden, *self._placed(tuple(hidden.shape), *tensors))

    def _own_grid(self) -> tuple[int, int]:
        grid = getattr(self.model.get_submodule(self.layers[0]), "grid_size", None)
        if grid is None:
            raise ValueError(f"grid must be given as (rows, columns): layer {self.layers[0]!r} has no grid_size")
        return int(grid[0]), int(grid[1])

    def _placed(self, shape: tuple[int, ...], sources: Tensor) -> tuple[Tensor, int]:
        """The sources of all tokens of a layer of that shape, in its order, and the axis of its channels."""
        (rows, columns), prefix = self.grid, self.prefix_tokens
        if len(shape) == 3:
            finer = math.isqrt(max(0, shape[1] - prefix) // (rows * columns))
            if finer and shape[1] == prefix + rows * columns * finer**2:
                own = torch.arange(shape[0], device=sources.device)[:, None].expand(-1, prefix)
                return torch.cat([own, _enlarged(sources, finer).flatten(1)], 1), 2
        maps = {"NHWC": shape[1:3], "NCHW": shape[2:4]} if len(shape) == 4 and not prefix else {}
        factors = {name: height // rows for name, (height, _) in maps.items() if self.layout in (None, name)}
        fitting = [name for name, k in factors.items() if k and maps[name] == (rows * k, columns * k)]
        if not fitting:
            raise ValueError(
                f"layer {self.layers[0]!r} must give (N, {prefix + rows * columns}, C), prefix_tokens={prefix} and a "
                f"grid of {rows} x {columns}, or a map of that grid without a prefix, or finer, got shape {shape}"
            )
        if len(fitting) == 2:
            raise ValueError(f"layout must be 'NHWC' or 'NCHW' for a map of shape {shape}, which may be either")
        return _enlarged(sources, factors[fitting[0]]), 3 if fitting == ["NHWC"] else 1


def _enlarged(cells: Tensor, factor: int) -> Tensor:
    return cells if factor == 1 else cells.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def _shown(values: Tensor, sources: Tensor, channels: int) -> Tensor:
    """The value at each place of the sample that sources, values' shape without the axis of channels, has there.

    Where a token's channels lie side by side, tokens are moved as rows: in half the time of going value by value.
    """
    tokens = values.movedim(channels, -1)
    if not tokens.is_contiguous():
        return values.gather(0, sources.unsqueeze(channels).expand_as(values))
    places = sources[0].numel()
    rows = sources.flatten(1) * places + torch.arange(places, device=sources.device)
    moved = tokens.reshape(-1, tokens.shape[-1]).index_select(0, rows.flatten())
    return moved.reshape(tokens.shape).movedim(-1, channels)
