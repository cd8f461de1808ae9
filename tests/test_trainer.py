"""transformers.Trainer on Loaders, by TrainerMixin: epochs, checkpoints in mid-epoch, evaluation, losses."""

from __future__ import annotations

import os

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'dali_tokenmix[frameworks]'"
)
accelerate = pytest.importorskip(
    "accelerate", reason="accelerate is not installed: pip install 'dali_tokenmix[frameworks]'"
)

import dali_tokenmix as dtm  # noqa: E402
from dali_tokenmix.frameworks import TrainerMixin  # noqa: E402
from tests.examples import one_thread, run_example  # noqa: E402

OPTIONS = {"batch_size": 6, "image_size": 32, "device": "cpu", "num_threads": 1}  # 40 files: six batches


class Recording(TrainerMixin, transformers.Trainer):
    """Writes down the batches and losses it trains on."""

    def training_step(self, model, inputs, *arguments, **options):
        self.__dict__.setdefault("seen", []).append(inputs["pixel_values"].clone())
        with torch.no_grad():
            expected = binary_cross_entropy_with_logits(model(inputs["pixel_values"]).logits, inputs["labels"])
        loss = super().training_step(model, inputs, *arguments, **options)
        self.__dict__.setdefault("losses", []).append((float(loss), float(expected)))
        return loss


def model():
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=4,
        hidden_dropout_prob=0.0,
        problem_type="multi_label_classification",
    )
    return transformers.ViTForImageClassification(config)


def trainer(photo_folder, folder, *, net=None, compute_metrics=None, **options):
    quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no"}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), **quiet, **{"num_train_epochs": 3, "save_strategy": "no", **options}
    )
    val = dtm.Loader(photo_folder, train=False, last_batch="partial", **OPTIONS)
    train = dtm.Loader(photo_folder, mixer=dtm.TokenMix(8), **OPTIONS)
    return Recording(net or model(), arguments, train_dataset=train, eval_dataset=val, compute_metrics=compute_metrics)


def assert_same(seen, expected):
    assert len(seen) == len(expected)
    for images, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(images, other, rtol=0, atol=0)


@pytest.fixture(autouse=True, scope="module")
def small_models():
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def one_accelerator_a_test():
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


@pytest.fixture(scope="module")
def run(photo_folder, tmp_path_factory):
    """Three epochs that nothing disturbs, and a checkpoint after every second batch."""
    folder = tmp_path_factory.mktemp("checkpoints")
    undisturbed = trainer(photo_folder, folder, save_strategy="steps", save_steps=2)
    undisturbed.train()
    return undisturbed, folder


def test_whole_epochs_of_a_loader(run, photo_folder):
    undisturbed, _ = run
    loader = dtm.Loader(photo_folder, mixer=dtm.TokenMix(8), **OPTIONS)
    assert_same(undisturbed.seen, [images for _ in range(3) for images, _ in loader])
    assert undisturbed.state.epoch == 3
    assert undisturbed.state.global_step == 18
    assert not torch.equal(undisturbed.model.classifier.weight, model().classifier.weight)


def test_the_loss_is_the_models_on_soft_labels(run):
    undisturbed, _ = run
    for loss, expected in undisturbed.losses:
        assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("step", [2, 6, 8])
def test_a_checkpoint_goes_on_with_the_next_batch(run, photo_folder, step):
    undisturbed, folder = run
    checkpoint = folder / f"checkpoint-{step}"
    net = transformers.ViTForImageClassification.from_pretrained(checkpoint)
    resumed = trainer(photo_folder, folder / "resumed", net=net)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert_same(resumed.seen, undisturbed.seen[step:])
    assert resumed.losses == undisturbed.losses[step:]


def test_the_last_checkpoint(run, photo_folder):
    _, folder = run
    resumed = trainer(photo_folder, folder, num_train_epochs=4)
    resumed.train(resume_from_checkpoint=True)
    loader = dtm.Loader(photo_folder, mixer=dtm.TokenMix(8), **OPTIONS)
    assert_same(resumed.seen, [images for _ in range(4) for images, _ in loader][18:])


def own_loss(outputs, labels, num_items_in_batch=None):
    return binary_cross_entropy_with_logits(outputs.logits, labels)


@pytest.mark.parametrize("compute_loss_func", [None, own_loss])
def test_accumulated_gradients_are_of_means(photo_folder, tmp_path, compute_loss_func):
    accumulating = trainer(photo_folder, tmp_path, num_train_epochs=1, gradient_accumulation_steps=4)
    accumulating.compute_loss_func = compute_loss_func
    accumulating.train()
    assert accumulating.state.global_step == 2  # of four batches and of two
    for number, (loss, expected) in enumerate(accumulating.losses):
        assert loss == pytest.approx(expected / (4 if number < 4 else 2), rel=1e-5)


def test_evaluation_sees_every_image_once(photo_folder, tmp_path):
    def counts(prediction):
        return {"images": len(prediction.label_ids), "classes": prediction.label_ids.sum(0).tolist()}

    evaluating = trainer(photo_folder, tmp_path, compute_metrics=counts)
    for data in (None, evaluating.eval_dataset):
        metrics = evaluating.evaluate(data)
        assert metrics["eval_images"] == 40
        assert metrics["eval_classes"] == [10, 10, 10, 10]
    assert len(evaluating.predict(evaluating.eval_dataset).predictions) == 40


def test_what_is_refused(photo_folder, tmp_path):
    checkpoint = tmp_path / "checkpoint-2"
    training = trainer(photo_folder, tmp_path)
    training.model.save_pretrained(checkpoint)
    training.state.save_to_json(str(checkpoint / "trainer_state.json"))
    with pytest.raises(ValueError, match=r"resume_from_checkpoint must hold loader\.pt"):
        training.train(resume_from_checkpoint=str(checkpoint))
    training.train_dataset = [1, 2, 3]
    with pytest.raises(TypeError, match=r"loader must be a dali_tokenmix.Loader, got list"):
        training.train()


def test_the_example_trains_and_resumes(photo_folder, tmp_path):
    shared = ("--root", photo_folder, "--device", "cpu", "--out", tmp_path)
    printed = run_example("hf_trainer.py", *shared, "--epochs", 2).splitlines()
    assert "10 steps, 5 batches an epoch" in printed
    assert sum(line.endswith("of 40 images") for line in printed) == 2
    printed = run_example("hf_trainer.py", *shared, "--epochs", 3, "--loss", "ce", "--resume").splitlines()
    assert "again from checkpoint-10" in printed
    assert "15 steps, 5 batches an epoch" in printed
