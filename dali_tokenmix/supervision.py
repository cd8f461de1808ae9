"""Who says what is in an image: the dataset's labels alone, or a teacher, and what each supervision needs of it."""

from __future__ import annotations

from typing import Any

from .checks import mixes
from .placing import layout
from .regions import ResizedShape

SUPERVISIONS = ("imagenet", "tokenmix", "relabel", "tokenlabeling")
BY_LABELS = ("relabel", "tokenlabeling")  # by a teacher's label maps, whatever the dataset's labels are


def check_source(supervision: str, teacher: Any, label_maps: Any, *, attention: bool = False) -> None:
    """Raises ValueError where a supervision lacks its source, has two, or one it does not use.

    TypeError for a teacher that is none. attention: whether the mixer needs a teacher's, whatever the supervision.
    """
    if attention:
        _check_attention(teacher)
        if supervision == "imagenet" or label_maps is not None:
            teacher = None  # needs no more of it
    given = [name for name, value in (("teacher", teacher), ("label_maps", label_maps)) if value is not None]
    if supervision == "imagenet":
        if given:
            raise ValueError(
                f"{given[0]} is of no use to supervision='imagenet': pass supervision='tokenmix', 'relabel' or "
                "'tokenlabeling', or leave it out"
            )
        return
    if len(given) != 1:
        found = " and ".join(given) or "neither"
        raise ValueError(
            f"supervision={supervision!r} needs teacher= (a Teacher) or label_maps= (stored labels), got {found}: pass "
            "one of them, or supervision='imagenet', which needs neither"
        )
    if teacher is not None and (isinstance(teacher, type) or not callable(_look(supervision, teacher))):
        raise TypeError(f"teacher must be a Teacher, or do what one does, got {teacher!r:.80}")
    if hasattr(teacher, "state_dict") and not hasattr(teacher, "topk"):  # a bare model of torch is callable too
        raise TypeError(f"teacher must be a Teacher, got the model {type(teacher).__name__}: pass Teacher(model)")


def _check_attention(teacher: Any) -> None:
    if teacher is None:
        raise ValueError("teacher must be a Teacher, whose attention the mixer cuts by (AttentiveCutMix), got None")
    if isinstance(teacher, type) or not callable(getattr(teacher, "attention", None)):
        raise TypeError(
            f"teacher must be a Teacher, or have its attention(images), which the mixer cuts by, got {teacher!r:.80}"
        )


def check_store(supervision: str, store: Any) -> None:
    """Raises ValueError for a LabelStore, None or the like without the labels that the supervision reads."""
    path = getattr(store, "path", "label_maps")
    if supervision == "tokenmix" and getattr(store, "map_type", "") is None:
        raise ValueError(
            f"{path} has no ground-truth maps, which supervision='tokenmix' reads: make-labels --maps uint8 stores them"
        )
    if supervision in BY_LABELS and getattr(store, "k", None) == 0:
        raise ValueError(
            f"{path} has no top-k labels, which supervision={supervision!r} reads: make-labels --topk 5 stores them"
        )


def check_classes(supervision: str, teacher: Any, num_classes: int, used: int) -> None:
    """Raises ValueError for a teacher whose classes are not the data's, where it says how many it has.

    used: the data's classes; num_classes: columns of the targets, perhaps more.
    """
    known = getattr(teacher, "num_classes", None)
    if supervision != "imagenet" and known is not None and known not in (used, num_classes):
        raise ValueError(
            f"teacher has {known} classes, the data has {used} and the targets num_classes={num_classes}: "
            "Teacher(classes=...) says which of its classes each class of the data is"
        )


def check_mixer(supervision: str, mixer: Any) -> None:
    """Raises ValueError for a mixer whose mixes the supervision cannot label."""
    if supervision == "tokenlabeling" and mixes(mixer) > 2:
        raise ValueError(
            "supervision='tokenlabeling' labels tokens that two samples share at most, and this mixer mixes "
            f"{mixes(mixer)}, got mixer={mixer!r:.80}: pass supervision='relabel', 'tokenmix' or 'imagenet'"
        )

    if supervision in ("tokenmix", "tokenlabeling") and any(isinstance(shape, ResizedShape) for shape in layout(mixer)):
        raise ValueError(
            f"supervision={supervision!r} looks up a map where its pixels are, and this mixer resizes them, got "
            f"mixer={mixer!r:.80}: pass supervision='relabel' or 'imagenet'"
        )


def check_labels(supervision: str, labels: Any) -> None:
    """Raises ValueError for rows of labels, an array (N, C), where the supervision needs class ids."""
    if supervision == "tokenmix" and labels.ndim == 2:
        raise ValueError(
            "supervision='tokenmix' weighs the object of each sample's own class: labels must be class ids, got rows "
            f"of {labels.shape[1]}. Pass class ids, or supervision='imagenet', which mixes rows by area"
        )


def check_maps(supervision: str, label_maps: Any) -> None:
    """Raises TypeError for what cannot look up the labels that the supervision reads; None is fine."""
    method = "maps" if supervision == "tokenmix" else "topk"
    if label_maps is not None and (isinstance(label_maps, type) or not callable(getattr(label_maps, method, None))):
        raise TypeError(f"label_maps must be a LabelStore or its path, got {label_maps!r:.80}")


def _look(supervision: str, teacher: Any) -> Any:
    return teacher if supervision == "tokenmix" else getattr(teacher, "topk", None)
