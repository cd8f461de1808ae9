"""make_labels in a process that a test kills: root, out, seconds a batch, shard, shards. A line for each batch."""

from __future__ import annotations

import sys
import time

import torch

from dali_tokenmix.label_store import journal as label_journal
from dali_tokenmix.label_store.maker import make_labels


class Slow:
    """A linear head on the colours, which takes its time."""

    image_size, map_size, num_classes, device = (32, 32), (4, 4), 4, torch.device("cpu")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.head = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        print(len(images), flush=True)
        return self.logits(images).gather(1, labels[:, None, None, None].expand(-1, 1, 4, 4))[:, 0]

    def topk(self, images: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        scores, ids = self.logits(images).topk(k, dim=1)
        return ids.int(), scores

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        cells = images.float().unflatten(2, (4, 8)).unflatten(1, (4, 8)).mean((2, 4))
        return torch.einsum("ck,nhwk->nchw", self.head, cells)

    def description(self) -> dict:
        return {"teacher": "slow"}


if __name__ == "__main__":
    root, out, seconds, shard, shards = sys.argv[1:]
    label_journal.COMMIT_SECONDS = 0
    teacher = Slow(float(seconds))
    make_labels(root, teacher, out, batch_size=4, topk=2, shard_id=int(shard), num_shards=int(shards))
