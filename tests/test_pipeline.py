"""Geometry and pixels of the train and eval graphs, against torchvision and Pillow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from PIL import Image
from scipy import stats
from skimage import data
from torchvision.transforms import v2 as transforms

import dali_tokenmix as dtm
from dali_tokenmix.pipeline import AREA, ASPECT
from dali_tokenmix.planner import without_padding

SIZES = [(500, 375), (333, 501), (451, 300), (256, 256), (100, 130), (201, 640)]


@pytest.fixture(scope="module")
def odd_sizes(tmp_path_factory):
    """Lossless images of odd sizes, so that decoders agree on every pixel."""
    root = tmp_path_factory.mktemp("sizes")
    (root / "photo").mkdir()
    photos = [data.astronaut(), data.coffee(), data.chelsea()]
    for number, size in enumerate(SIZES):
        Image.fromarray(photos[number % 3]).resize(size[::-1]).save(root / "photo" / f"{number}.png")
    return root


def clean(root, **options):
    return dtm.Loader(root, **{"batch_size": 6, "dtype": "uint8", "layout": "NHWC", "device": "cpu", **options})


@pytest.mark.parametrize(("image_size", "shorter"), [(224, 256), (96, 110), ((160, 224), 256), (17, 19)])
def test_evaluation_is_torchvisions_resize_and_centre_crop(odd_sizes, image_size, shorter):
    crop = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    ((images, targets),) = clean(odd_sizes, train=False, image_size=image_size)
    assert torch.equal(targets, torch.ones(6, 1))
    theirs = transforms.Compose([transforms.Resize(shorter), transforms.CenterCrop(crop)])
    for number in range(6):
        with Image.open(odd_sizes / "photo" / f"{number}.png") as photo:
            expected = np.asarray(theirs(photo.convert("RGB"))).astype(int)
        difference = np.abs(images[number].numpy().astype(int) - expected)
        assert difference.max() <= 2
        assert difference.mean() < 0.4


def test_evaluation_keeps_the_order_and_is_the_same_each_epoch(photo_folder):
    source = clean(photo_folder, train=False, last_batch="partial", image_size=32)
    first = torch.cat([images for images, _ in source])
    assert torch.equal(first, torch.cat([images for images, _ in source]))
    assert np.concatenate([source.indices for _ in source]).tolist() == list(range(40))


def test_normalisation_is_torchvisions(odd_sizes):
    ((pixels, _),) = clean(odd_sizes, train=False, image_size=64)
    ((images, _),) = clean(odd_sizes, train=False, image_size=64, dtype="float32", layout="NCHW")
    expected = transforms.Normalize(dtm.IMAGENET_MEAN, dtm.IMAGENET_STD)(pixels.permute(0, 3, 1, 2) / 255)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=1e-5)


def test_training_crops_are_found_in_the_photograph(tmp_path):
    """An image whose red is its column and green its row tells which box was cut, and whether it was mirrored."""
    (tmp_path / "ramp").mkdir()
    y, x = np.mgrid[:200, :250]
    Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8)).save(tmp_path / "ramp" / "a.png")
    for number in range(63):
        (tmp_path / "ramp" / f"b{number}.png").write_bytes((tmp_path / "ramp" / "a.png").read_bytes())
    source = clean(tmp_path, batch_size=64, image_size=50, mixer=None)
    images = torch.cat([images for _ in range(6) for images, _ in source]).numpy().astype(float)
    across, down = np.diff(images[:, 10:-10, 5:-5, 0], axis=2), np.diff(images[:, 5:-5, 10:-10, 1], axis=1)
    width, height = np.abs(across.mean((1, 2))) * 50, down.mean((1, 2)) * 50
    assert (down.mean((1, 2)) > 0).all()  # never upside down
    mirrored = (across.mean((1, 2)) < 0).mean()
    assert abs(mirrored - 0.5) < 4 * np.sqrt(0.25 / len(images))
    share, aspect = width * height / (200 * 250), width / height
    assert 0.07 < share.min() < 0.13
    assert 0.9 < share.max() < 1.05
    assert 0.7 < aspect.min() < 0.8
    assert 1.25 < aspect.max() < 1.4


def test_crop_boxes_are_distributed_as_torchvisions():
    height, width, count = 375, 500, 4000
    pipeline = Pipeline(count, 2, None, seed=4)
    with pipeline:
        shape = types.Constant([height, width, 3], dtype=types.INT64)
        pipeline.set_outputs(*fn.random_crop_generator(shape, random_area=AREA, random_aspect_ratio=ASPECT, seed=9))
    pipeline.build()
    anchor, size = (output.as_array() for output in pipeline.run())
    torch.manual_seed(1)
    image = torch.zeros(3, height, width)
    theirs = np.array(
        [transforms.RandomResizedCrop.make_params(transforms.RandomResizedCrop(9), [image]) for _ in range(count)]
    )
    theirs = np.array([[box[name] for name in ("top", "left", "height", "width")] for box in theirs])
    ours = np.concatenate([anchor, size], axis=1)
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    assert stats.ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 1e-3


def test_a_training_image_is_its_crop_or_that_crop_mirrored(photo_folder):
    """The graph's own crops and sides, resized by Pillow."""
    loader = dtm.Loader(photo_folder, batch_size=40, image_size=48, dtype="uint8", layout="NHWC", mixer=None)
    ((images, _),) = loader
    pipeline = Pipeline(40, 2, None, enable_checkpointing=True)
    graph = dataclasses.replace(loader._graph, seeds=loader._run.planner.graph.seeds)
    with pipeline:
        jpegs, _ = graph._read()
        _, crop = graph._images(jpegs)
        crops = fn.decoders.image_slice(jpegs, start=crop["start"], shape=crop["size"], axes=[0, 1])
        pipeline.set_outputs(crops, crop["mirrored"])
    pipeline.build()
    crops, mirrored = pipeline.run()
    mirrored = mirrored.as_array().reshape(-1) != 0
    assert 8 < mirrored.sum() < 32
    for number, image in enumerate(images.numpy().astype(int)):
        expected = np.asarray(Image.fromarray(crops.at(number)).resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(image - (expected[:, ::-1] if mirrored[number] else expected)).max() <= 1


@pytest.mark.parametrize(
    ("index", "valid"), [([3, 1, 2, 0], 4), ([3, 1, 2, 2], 3), ([3, 2, 2, 2], 2), ([2, 2, 2, 2], 1), ([2], 1)]
)
def test_padding_is_the_last_sample_again(index, valid):
    assert without_padding(np.array(index)) == valid
