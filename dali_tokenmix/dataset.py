"""Class folders on disk, as dali_tokenmix.sources.folder finds them."""

from .sources.folder import ImageFolder, scan

__all__ = ["ImageFolder", "scan"]
