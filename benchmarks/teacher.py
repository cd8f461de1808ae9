"""What an online teacher costs: its share of a DeiT-T training step, and its hook against the bare model.

Share: seconds of Teacher(images, labels) by seconds of forward and backward of DeiT-T on as many 224 x 224 images, for
each resolution, with channels_last and bfloat16. Hook: the same call against model(images), both from floats that are
normalised already and both from uint8. Rounds take turns. `python benchmarks/teacher.py --help`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import timm
import torch
from gpu.place import Cpu, Gpu, interleaved
from results import Results, check_device, common_options, positive, say
from timing import describe_machine, spread

from dali_tokenmix.losses import soft_target_bce
from dali_tokenmix.teacher import Teacher

FORMS: dict[str, dict] = {
    "float32": {},
    "channels_last": {"channels_last": True},
    "channels_last bfloat16": {"channels_last": True, "autocast": "bfloat16"},
}


def main() -> None:
    options = arguments()
    results, place = Results("teacher", options.device), Gpu() if options.device == "gpu" else Cpu()
    print(describe_machine())
    print(f"{options.teacher} on {options.device}, batch {options.batch_size}, {torch.get_num_threads()} threads\n")
    shares(place, options, results)
    hook(place, options, results)
    say(f"{len(results.rows)} rows in {results.write(options.results)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common_options(parser)
    parser.add_argument(
        "--teacher", default="efficientnet-lite0", help="as in Teacher.from_name (default: %(default)s)"
    )
    parser.add_argument("--random", action="store_true", help="random weights instead of pretrained ones")
    parser.add_argument("--sizes", type=positive, nargs="+", help="of its input (default: 224 160 112; quick: 64)")
    parser.add_argument("--image-size", type=positive, help="of the student's (default: 224; quick: 64)")
    parser.add_argument("--batch-size", type=positive, help="(default: 16; quick: 2)")
    parser.add_argument("--rounds", type=positive, help="of the shares; the hook gets three times as many (default: 5)")
    options = parser.parse_args()
    check_device(parser, options)
    sizes, image, batch, rounds = ([64], 64, 2, 2) if options.quick else ([224, 160, 112], 224, 16, 5)
    options.sizes, options.image_size = options.sizes or sizes, options.image_size or image
    options.batch_size, options.rounds = options.batch_size or batch, options.rounds or rounds
    return options


def shares(place: Cpu, options: argparse.Namespace, results: Results) -> None:
    """Prints the share of a training step for each size and form."""
    images, labels = batch(place, options)
    work = {"step": training_step(place, options)}
    for size in options.sizes:
        for form, extra in FORMS.items():
            say(f"{options.teacher} at {size}, {form}: checking")
            teacher = Teacher.from_name(options.teacher, image_size=size, **setting(place, options), **extra)
            maps = teacher(images, labels)
            assert maps.shape == (len(images), *teacher.map_size)
            assert (maps.isfinite() & (maps >= 0)).all()
            work[f"{size} {form}"] = lambda _, teacher=teacher: teacher(images, labels)
    say("timing the teachers in turns with a training step")
    seconds = interleaved(place.measure, work, options.rounds)
    step = seconds.pop("step")
    told = {"batch": options.batch_size, "student": options.image_size}
    results.add("DeiT-T step", "time", "ms", 1e3 * step, **told)
    print(f"DeiT-T forward + backward at {options.image_size}: {spread(step, 1e3, 0)} ms")
    print(f"{'teacher':30} {'ms':>20} {'share of the step, %':>24}")
    for name, found in seconds.items():
        print(f"{name:30} {spread(found, 1e3, 0):>20} {spread(found / step, 100, 1):>24}")
        results.add(f"{options.teacher} {name}", "time", "ms", 1e3 * found, **told)
        results.add(f"{options.teacher} {name}", "share of a step", "%", 100 * found / step, **told)


def hook(place: Cpu, options: argparse.Namespace, results: Results) -> None:
    """Prints the hook's time by the bare model's, at the student's size."""
    pixels, labels = batch(place, options)
    teacher = Teacher.from_name(options.teacher, image_size=options.image_size, **setting(place, options))
    model = teacher.model.eval()
    device = place.torch_device
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (teacher.mean, teacher.std))

    def normalise() -> torch.Tensor:
        return (pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)).contiguous()

    def bare(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(images)

    say("hook and bare model: checking, timing")
    floats = normalise()
    assert torch.allclose(teacher(floats, labels), teacher(pixels, labels), rtol=1e-3, atol=1e-3)
    work = {
        "bare": lambda _: bare(floats),
        "hook": lambda _: teacher(floats, labels),
        "bare, uint8": lambda _: bare(normalise()),
        "hook, uint8": lambda _: teacher(pixels, labels),
    }
    seconds = interleaved(place.measure, work, 3 * options.rounds)
    print(f"\n{'hook against bare model':30} {'bare ms':>20} {'hook / bare, round by round':>32}")
    for name, kind in (("normalised floats", ""), ("uint8", ", uint8")):
        before, after = seconds[f"bare{kind}"], seconds[f"hook{kind}"]
        print(f"{name:30} {spread(before, 1e3, 1):>20} {spread(after / before, 1, 3):>32}")
        case, told = f"{options.teacher}, {name}", {"batch": options.batch_size, "size": options.image_size}
        results.add(case, "time, bare model", "ms", 1e3 * before, **told)
        results.add(case, "hook / bare model", "x", after / before, **told)


def training_step(place: Cpu, options: argparse.Namespace) -> Callable[[int], object]:
    """Forward and backward of DeiT-T, float32, without the optimizer."""
    size, device = options.image_size, place.torch_device
    student = timm.create_model("deit_tiny_patch16_224", pretrained=False, img_size=size).to(device).train()
    images = torch.randn(options.batch_size, 3, size, size, device=device)
    targets = torch.full((options.batch_size, 1000), 1e-3, device=device)

    def step(_: int) -> None:
        student.zero_grad(set_to_none=True)
        soft_target_bce(student(images), targets).backward()

    return step


def batch(place: Cpu, options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise: uint8 images and class ids, where the place is."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.batch_size, options.image_size, options.image_size, 3), np.uint8)
    labels = rng.integers(0, 1000, options.batch_size)
    return torch.from_numpy(images).to(place.torch_device), torch.from_numpy(labels).to(place.torch_device)


def setting(place: Cpu, options: argparse.Namespace) -> dict:
    return {"pretrained": not options.random, "device": place.torch_device}


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    say(f"{time.perf_counter() - start:.0f} s in all")
