"""What may change from batch to batch of a run: image size, probability of mixing, whether to mix; and a schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from . import checks
from .checks import choice, number
from .mixers import Choice
from .mixing import drawn
from .regions import Size

if TYPE_CHECKING:
    from .pipeline import Graph

Schedule = Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True)
class Phase:
    """image_size: (height, width). prob: of mixing, None: as the mixer was made. mixing: whether at all."""

    image_size: Size
    prob: float | None = None
    mixing: bool = True

    def graph(self, graph: Graph) -> Graph:
        """The graph in this phase."""
        return replace(graph, image_size=self.image_size, mixer=with_prob(graph.mixer, self.prob))

    def changed(self, graph: Graph, **changes: Any) -> Phase:
        """A phase with some of its fields changed, checked against the graph's mixer."""
        if "image_size" in changes:
            changes["image_size"] = checks.image_size(changes["image_size"])
        if "mixing" in changes:
            choice("mixing", changes["mixing"], (True, False))
        phase = replace(self, **changes)
        mixer = with_prob(graph.mixer, phase.prob)
        if mixer is not None:
            drawn(mixer, graph.batch_size, phase.image_size)  # one that cannot fit the image says so now
        return phase

    def scheduled(self, graph: Graph, schedule: Schedule | None, epoch: int) -> Phase:
        """The phase at the start of an epoch, where self is the one without a schedule."""
        if schedule is None:
            return self
        changes = schedule(epoch)
        names = [field.name for field in fields(Phase)]
        if not isinstance(changes, Mapping) or set(changes) - set(names):
            raise ValueError(
                f"schedule must return a dict of some of {', '.join(names)}, got {changes!r} for epoch {epoch}"
            )
        return self.changed(graph, **changes)


def with_prob(mixer: Any, prob: float | None) -> Any:
    """The mixer, or those that a Choice holds, with another probability of mixing; None: as they are.

    Raises ValueError for a mixer that has none to change.
    """
    if prob is None:
        return mixer
    number("prob", prob, at_least=0, at_most=1)
    if mixer is None:
        raise ValueError(f"prob is how often the mixer mixes, and there is no mixer: pass mixer=, got prob={prob}")
    if isinstance(mixer, Choice):
        return replace(mixer, mixers=[with_prob(one, prob) for one in mixer.mixers])
    if not is_dataclass(mixer) or isinstance(mixer, type) or not hasattr(mixer, "prob"):
        raise ValueError(f"prob needs a mixer that has a prob, as TokenMix(prob=...) has, got {mixer!r}")
    changed: Any = replace(mixer, prob=prob)
    return changed
