"""A teacher's maps of a whole data set in one file: read by index, made by a teacher, imported from released trees."""

from .store import LabelStore

__all__ = ["LabelStore"]
