"""Who says what is in an image: the dataset's labels alone, or a teacher, and what each supervision needs of it."""

from __future__ import annotations

from typing import Any

SUPERVISIONS = ("imagenet", "tokenmix", "relabel", "tokenlabeling")
BY_LABELS = ("relabel", "tokenlabeling")  # by a teacher's label maps, whatever the dataset's labels are


def check_source(supervision: str, teacher: Any, label_maps: Any) -> None:
    """Raises ValueError where a supervision lacks its source, has two, or one it does not use.

    TypeError for a teacher that is none.
    """
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
        raise ValueError(f"supervision={supervision!r} needs teacher= (a model) or label_maps= (a store), got {found}")
    if teacher is not None and (isinstance(teacher, type) or not callable(_look(supervision, teacher))):
        raise TypeError(f"teacher must be a Teacher, or do what one does, got {teacher!r:.80}")


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
    """Raises ValueError where a teacher knows too few classes, or gives labels that the targets have no column for.

    used: class ids of the data are below it.
    """
    known = getattr(teacher, "num_classes", None)
    if known is None:
        return
    if supervision == "tokenmix" and known < used:
        raise ValueError(
            f"teacher has {known} classes, the data has {used}: Teacher(classes=...) says which of its classes each is"
        )
    if supervision in BY_LABELS and known > num_classes:
        raise ValueError(
            f"teacher has {known} classes, targets have num_classes={num_classes}: pass num_classes={known}, or "
            "Teacher(classes=...), which says which of its classes each label is"
        )


def _look(supervision: str, teacher: Any) -> Any:
    return teacher if supervision == "tokenmix" else getattr(teacher, "topk", None)
