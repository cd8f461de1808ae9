"""Where images and labels come from: what Loader(source=) and make_labels() take."""

from .file_list import FileList
from .folder import Folder
from .tf_record import TFRecord
from .web_dataset import WebDataset

__all__ = ["FileList", "Folder", "TFRecord", "WebDataset"]
