"""Lightning: real fits on a LightningDataModule, its epochs, checkpoints in mid-epoch, processes."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn.functional import cross_entropy

pl = pytest.importorskip(
    "lightning.pytorch", reason="lightning is not installed: pip install 'dali_tokenmix[frameworks]'"
)

from lightning.fabric import Fabric  # noqa: E402

import dali_tokenmix as dtm  # noqa: E402
from dali_tokenmix.frameworks import LightningDataModule, TorchLoader  # noqa: E402
from tests.examples import one_thread, run_example  # noqa: E402

OPTIONS = {"batch_size": 6, "image_size": 32, "mixer": dtm.TokenMix(8), "num_threads": 1}  # 40 files: six batches
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning would like workers, a logger and a batch size


@pytest.fixture(autouse=True, scope="module")
def small_models():
    with one_thread():
        yield


class Model(pl.LightningModule):
    """Trains, and writes down what it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 4))
        self.seen, self.indices, self.losses, self.validated = [], [], [], []

    def training_step(self, batch, number):
        images, targets = batch
        self.seen.append((self.current_epoch, number, images.clone()))
        self.indices.append(self.trainer.datamodule.train_loader.indices.tolist())
        loss = cross_entropy(self.net(images), targets)
        self.losses.append(float(loss))
        return loss

    def validation_step(self, batch, number):
        images, targets = batch
        assert targets.max(1).values.eq(1).all()
        self.validated.append(len(images))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data, *, resume=None, model=None, **options):
    model = model or Model()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"accelerator": "cpu", "max_epochs": 3, "enable_checkpointing": "callbacks" in options, **options}
    pl.Trainer(**quiet, **options).fit(model, datamodule=data, ckpt_path=resume)
    return model


def assert_same(seen, expected):
    assert [batch[:2] for batch in seen] == [batch[:2] for batch in expected]
    for (*_, images), (*_, other) in zip(seen, expected, strict=True):
        torch.testing.assert_close(images, other, rtol=0, atol=0)


@pytest.fixture(scope="module")
def run(photo_folder, tmp_path_factory):
    """A fit of three epochs that nothing disturbs, and a checkpoint after every batch."""
    folder = tmp_path_factory.mktemp("checkpoints")
    each = pl.callbacks.ModelCheckpoint(
        folder, every_n_train_steps=1, save_top_k=-1, filename="{step}", auto_insert_metric_name=False
    )
    data = LightningDataModule(photo_folder, photo_folder, **OPTIONS)
    return fit(data, callbacks=[each]), folder


def test_a_fit_sees_whole_epochs_and_learns(run):
    model, _ = run
    assert [batch[:2] for batch in model.seen] == [(epoch, number) for epoch in range(3) for number in range(6)]
    for epoch in range(3):
        shown = [index for batch in model.indices[6 * epoch : 6 * epoch + 6] for index in batch]
        assert len(set(shown)) == 36  # of 40, each at most once
    assert all(loss < 10 for loss in model.losses)
    started = Model()
    assert not torch.equal(model.net[2].weight, started.net[2].weight)
    assert model.validated == [6, 6] + 3 * [6, 6, 6, 6, 6, 6, 4]  # a sanity check of two batches, then whole epochs


def test_batches_are_a_loaders(run, photo_folder):
    model, _ = run
    loader = dtm.Loader(photo_folder, device="cpu", **OPTIONS)
    expected = [(epoch, number, batch[0]) for epoch in range(3) for number, batch in enumerate(loader)]
    assert_same(model.seen, expected)


@pytest.mark.parametrize("step", [1, 6, 8])
def test_a_checkpoint_goes_on_with_the_next_batch(run, photo_folder, step):
    model, folder = run
    resumed = fit(LightningDataModule(photo_folder, photo_folder, **OPTIONS), resume=folder / f"{step}.ckpt")
    assert_same(resumed.seen, model.seen[step:])
    assert resumed.losses == model.losses[step:]


def test_a_checkpoint_of_an_epochs_end_goes_on_with_the_next_epoch(run, photo_folder, tmp_path):
    model, _ = run
    names = {"filename": "{epoch}", "auto_insert_metric_name": False}
    after_each = pl.callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, **names)
    fit(LightningDataModule(photo_folder, photo_folder, **OPTIONS), callbacks=[after_each])
    for epoch in (0, 1):
        path = tmp_path / f"{epoch}.ckpt"
        resumed = fit(LightningDataModule(photo_folder, photo_folder, **OPTIONS), resume=path)
        assert_same(resumed.seen, model.seen[6 * (epoch + 1) :])
        assert resumed.losses == model.losses[6 * (epoch + 1) :]
    data = LightningDataModule(photo_folder, photo_folder, **OPTIONS)
    pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False).validate(Model(), data, ckpt_path=path)
    assert_same(fit(data).seen, model.seen)  # what is only evaluated sets no fit on its way


def test_limited_epochs_are_the_beginnings_of_epochs(run, photo_folder, tmp_path):
    model, _ = run
    data = LightningDataModule(photo_folder, **OPTIONS)
    last = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True)
    limited = fit(data, limit_train_batches=2, callbacks=[last])
    assert [batch[:2] for batch in limited.seen] == [(epoch, number) for epoch in range(3) for number in range(2)]
    assert_same(limited.seen[:2], model.seen[:2])
    undisturbed = fit(LightningDataModule(photo_folder, **OPTIONS), limit_train_batches=2, max_epochs=4)
    resumed = fit(data, limit_train_batches=2, max_epochs=4, resume=tmp_path / "last.ckpt")
    assert_same(resumed.seen, undisturbed.seen[6:])


def test_another_fit_begins_with_a_whole_epoch(run, photo_folder):
    model, _ = run
    data = LightningDataModule(photo_folder, photo_folder, **OPTIONS)
    fit(data, limit_train_batches=3, max_epochs=1)
    loader = data.train_loader
    assert_same(fit(data).seen, model.seen)
    assert data.train_loader is loader


def test_functions_that_make_loaders(photo_folder):
    data = LightningDataModule(lambda: dtm.Loader(photo_folder, **OPTIONS))
    assert len(fit(data, max_epochs=1).seen) == 6


def test_what_is_refused(photo_folder, tmp_path):
    with pytest.raises(ValueError, match="train is a function that makes its own: got batch_size"):
        LightningDataModule(lambda: None, batch_size=8)
    with pytest.raises(ValueError, match="val must be a function that makes a Loader, as train is one, got 'photos'"):
        LightningDataModule(lambda: None, "photos")
    with pytest.raises(ValueError, match="num_shards, shard_id must be left out: the Trainer decides"):
        LightningDataModule(photo_folder, shard_id=0, num_shards=2)
    with pytest.raises(TypeError, match="must return a Loader, got list"):
        LightningDataModule(lambda: []).setup("fit")
    with pytest.raises(ValueError, match="overfit_batches needs batches that are the same"):
        fit(LightningDataModule(photo_folder, **OPTIONS), overfit_batches=2)
    (tmp_path / "tench").mkdir()
    (tmp_path / "tench" / "0.jpg").write_bytes((photo_folder / "coffee" / "000.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"val must have the classes of train, astronaut, .*, got tench"):
        LightningDataModule(photo_folder, tmp_path, **OPTIONS).setup("fit")


def test_fabric_takes_a_torch_loader_and_goes_on_after_a_state(photo_folder):
    fabric = Fabric(accelerator="cpu")
    loader = dtm.Loader(photo_folder, device="cpu", **OPTIONS)
    expected = [images for _ in range(3) for images, _ in loader]
    torch_loader = TorchLoader(dtm.Loader(photo_folder, device="cpu", **OPTIONS))
    batches = fabric.setup_dataloaders(torch_loader)
    assert len(batches) == 6
    seen = [images for images, _ in batches]
    for number, (images, _) in enumerate(batches):
        seen.append(images)
        if number == 1:
            state = torch_loader.state_dict()
            break
    fresh = TorchLoader(dtm.Loader(photo_folder, device="cpu", **OPTIONS))
    fresh.load_state_dict(state)
    batches = fabric.setup_dataloaders(fresh)
    seen += [images for _ in range(2) for images, _ in batches]
    for images, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(images, other, rtol=0, atol=0)


def test_the_example_trains_and_resumes(photo_folder):
    printed = run_example("lightning_fit.py", "--root", photo_folder, "--device", "cpu")
    assert re.findall(r"^epoch \d: \d batches", printed, re.MULTILINE) == [
        *("epoch 0: 5 batches", "epoch 1: 5 batches", "epoch 1: 5 batches")
    ]
    assert "again from step=7" in printed
