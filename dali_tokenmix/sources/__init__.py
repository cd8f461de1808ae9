"""Where images and labels come from: what Loader(source=) and make_labels() take."""

from .file_list import FileList
from .folder import Folder

__all__ = ["FileList", "Folder"]
