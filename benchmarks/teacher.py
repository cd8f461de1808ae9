"""What an online teacher costs: its share of a DeiT-T training step, and its hook against the bare model.

Share: seconds of Teacher(images, labels) by seconds of forward and backward of DeiT-T on as many 224 x 224 images, for
each resolution, with channels_last and bfloat16. Hook: the same call against model(images), both from floats that are
normalised already and both from uint8. Rounds take turns. `python benchmarks/teacher.py --help`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import timm
import torch
from timing import describe_machine, interleaved, spread

from dali_tokenmix.losses import soft_target_bce
from dali_tokenmix.teacher import Teacher

STUDENT = 224
FORMS: dict[str, dict] = {
    "float32": {},
    "channels_last": {"channels_last": True},
    "channels_last bfloat16": {"channels_last": True, "autocast": "bfloat16"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--teacher", default="efficientnet-lite0", help="as in Teacher.from_name (default: %(default)s)"
    )
    parser.add_argument("--random", action="store_true", help="random weights instead of pretrained ones")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 160, 112], help="of the teacher's input")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5, help="of the shares; the hook gets three times as many")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    print(describe_machine())
    print(f"{options.teacher} on {options.device}, batch {options.batch_size}, {torch.get_num_threads()} threads\n")
    shares(options)
    hook(options)


def shares(options: argparse.Namespace) -> None:
    """Prints the share of a training step for each size and form."""
    images, labels = batch(options)
    work = {"step": training_step(options)}
    for size in options.sizes:
        for form, extra in FORMS.items():
            teacher = Teacher.from_name(options.teacher, image_size=size, **setting(options), **extra)
            assert teacher(images, labels).shape == (len(images), *teacher.map_size)
            work[f"{size} {form}"] = timed(lambda _, teacher=teacher: teacher(images, labels), options)
    seconds = interleaved(work, options.rounds)
    step = seconds.pop("step")
    print(f"DeiT-T forward + backward at {STUDENT}: {spread(step, 1e3, 0)} ms")
    print(f"{'teacher':30} {'ms':>20} {'share of the step, %':>24}")
    for name, found in seconds.items():
        print(f"{name:30} {spread(found, 1e3, 0):>20} {spread(found / step, 100, 1):>24}")


def hook(options: argparse.Namespace) -> None:
    """Prints the hook's time by the bare model's, at the teacher's own size."""
    pixels, labels = batch(options)
    teacher = Teacher.from_name(options.teacher, image_size=STUDENT, **setting(options))
    model = teacher.model.eval()
    mean, std = (torch.tensor(values, device=options.device).view(3, 1, 1) for values in (teacher.mean, teacher.std))

    def normalise() -> torch.Tensor:
        return (pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)).contiguous()

    def bare(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(images)

    floats = normalise()
    assert torch.allclose(teacher(floats, labels), teacher(pixels, labels), rtol=1e-3, atol=1e-3)
    work = {
        "bare": timed(lambda _: bare(floats), options),
        "hook": timed(lambda _: teacher(floats, labels), options),
        "bare, uint8": timed(lambda _: bare(normalise()), options),
        "hook, uint8": timed(lambda _: teacher(pixels, labels), options),
    }
    seconds = interleaved(work, 3 * options.rounds)
    print(f"\n{'hook against bare model':30} {'bare ms':>20} {'hook / bare, round by round':>32}")
    for name, kind in (("normalised floats", ""), ("uint8", ", uint8")):
        before, after = seconds[f"bare{kind}"], seconds[f"hook{kind}"]
        print(f"{name:30} {spread(before, 1e3, 1):>20} {spread(after / before, 1, 3):>32}")


def training_step(options: argparse.Namespace) -> Callable[[int], object]:
    """Forward and backward of DeiT-T, float32, without the optimizer."""
    student = timm.create_model("deit_tiny_patch16_224", pretrained=False).to(options.device).train()
    images = torch.randn(options.batch_size, 3, STUDENT, STUDENT, device=options.device)
    targets = torch.full((options.batch_size, 1000), 1e-3, device=options.device)

    def step(_: int) -> None:
        student.zero_grad(set_to_none=True)
        soft_target_bce(student(images), targets).backward()

    return timed(step, options)


def timed(work: Callable[[int], object], options: argparse.Namespace) -> Callable[[int], object]:
    """Waits for the GPU, so that the clock sees the work."""
    if torch.device(options.device).type != "cuda":
        return work

    def waiting(call: int) -> None:
        work(call)
        torch.cuda.synchronize()

    return waiting


def batch(options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.batch_size, STUDENT, STUDENT, 3), np.uint8)
    labels = rng.integers(0, 1000, options.batch_size)
    return torch.from_numpy(images).to(options.device), torch.from_numpy(labels).to(options.device)


def setting(options: argparse.Namespace) -> dict:
    return {"pretrained": not options.random, "device": options.device}


if __name__ == "__main__":
    main()
