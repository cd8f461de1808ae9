"""A training step, to hold the cost of mixing against: forward and backward of a model, without the optimizer."""

from __future__ import annotations

import torch
from gpu.place import Cpu
from torch import nn
from traffic import Shapes

from dali_tokenmix.losses import soft_target_bce

DEPTH, WIDTH, HEADS, PATCH = 12, 192, 3, 16  # of DeiT-T


class Step:
    """Calls take a step on a batch of noise, or on the one given: images (N, 3, H, W), targets (N, C)."""

    def __init__(self, model: nn.Module, s: Shapes, place: Cpu, *, amp: bool = False, compile: bool = False) -> None:
        self.device, self.amp = place.torch_device, amp
        self.student = model.to(self.device).train()
        self.run = torch.compile(self.student) if compile else self.student
        self.images = torch.randn(s.batch, 3, s.height, s.width, device=self.device)
        self.targets = torch.full((s.batch, s.classes), 1 / s.classes, device=self.device)

    def __call__(self, _: int) -> None:
        self.take(self.images, self.targets)

    def take(self, images: torch.Tensor, targets: torch.Tensor) -> None:
        self.student.zero_grad(set_to_none=True)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.amp):
            logits = self.run(images)
        soft_target_bce(logits.float(), targets).backward()


def deit_tiny(s: Shapes) -> tuple[str, nn.Module]:
    """DeiT-T of timm for images of this size, or of torch's own parts where there is no timm; and its name."""
    try:
        import timm
    except ModuleNotFoundError:
        return "a transformer of DeiT-T's size", PlainTransformer(s)
    size = {"img_size": (s.height, s.width), "num_classes": s.classes}
    return "DeiT-T", timm.create_model("deit_tiny_patch16_224", pretrained=False, **size)


class PlainTransformer(nn.Module):
    """Patches of 16, blocks of torch, mean over tokens."""

    def __init__(self, s: Shapes) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        tokens = (s.height // PATCH) * (s.width // PATCH)
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, WIDTH))
        block = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, DEPTH, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, s.classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.blocks(tokens).mean(1))
