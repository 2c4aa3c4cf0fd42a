"""Codes that are learned by one run and used by others."""

import shutil

import numpy as np
import pytest
from support.tiny_pictures import write_folder
from support.tiny_run import make_config

import tfx_jax
from tfx_jax import builders
from tfx_jax.builders.image_codes import codes_config, trained_codes
from tfx_jax.builders.validation import validate
from tfx_jax.cli import evaluate, train
from tfx_jax.common.picture_files import read_picture
from tfx_jax.errors import UserError
from tfx_jax.generation.settings import GenerateSettings

PICTURES = {
  "task.metrics": ("psnr",),
  "data.format": "pictures",
  "image.size": (8, 8),
  "image.patch": (4, 4),
  "model.share_embeddings": False,
  "train.num_steps": 2,
}
AUTOENCODER = PICTURES | {
  "task.name": "reconstruct",
  "task.source": "image",
  "image.codes": 0,
  "model.architecture": "autoencoder",
  "model.levels": (4, 3),
  "train.label_smoothing": 0.0,
  "generate.beam_size": GenerateSettings.beam_size,
  "generate.max_length": GenerateSettings.max_length,
}
DRAW = PICTURES | {"task.name": "draw", "task.source": "text", "task.target": "image"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pictures")
  for split in builders.SPLITS:
    write_folder(folder / split, count=20)
  with pytest.MonkeyPatch.context() as patch:
    for command in (train, evaluate):
      patch.setattr(command, "draw_curves", lambda workdir: None)
    config = with_data(AUTOENCODER, folder)
    assert train.train(config, str(folder / "codes")) == 0
    yield folder


def with_data(settings, folder, **changes):
  paths = {f"data.{split}": str(folder / split) for split in builders.SPLITS}
  return make_config(settings | paths | changes)


@pytest.fixture(scope="module")
def codes(folder):
  return tfx_jax.load(str(folder / "codes"))


@pytest.fixture(scope="module")
def pictures(folder):
  return [str(folder / "test" / f"{number}.png") for number in range(20)]


def test_reconstructions_are_pictures_made_of_their_codes(codes, pictures):
  outputs = [output for (output,) in codes.generate(pictures)]
  assert all(output.value.shape == (8, 8, 3) for output in outputs)
  assert all(len(output.tokens) == 4 and 0 <= min(output.tokens) for output in outputs)
  alone = [codes.generate([picture], batch_size=1)[0][0] for picture in pictures[:3]]
  for one, other in zip(alone, outputs, strict=False):
    assert one.tokens == other.tokens and np.array_equal(one.value, other.value)
  metrics, rows = codes.evaluate("test")
  assert metrics.keys() == {"loss", "psnr"} and len(rows) == 20
  assert all(row["reference"] is None for row in rows)
  wrong = [row["output"].astype(float) - row["source"] for row in rows]
  assert metrics["psnr"] == pytest.approx(10 * np.log10(255**2 / np.square(wrong).mean()))


def test_settings_of_searches_are_refused(codes, pictures):
  with pytest.raises(UserError, match=r"generate.beam_size=3 has no effect.*autoencoder"):
    codes.generate(pictures, beam_size=3)
  for call in (lambda: codes.score(["a"], ["b"]), lambda: codes.stream("a")):
    with pytest.raises(UserError):
      call()


def test_another_run_uses_the_codes_and_needs_the_first_no_longer(folder, tmp_path):
  shutil.copytree(folder / "codes", tmp_path / "codes")
  changes = {"image.path": str(tmp_path / "codes")}
  config = with_data(DRAW, folder, **changes)
  made = builders.make_codecs(config, str(tmp_path / "run"))[1]
  trained = trained_codes(config)
  shutil.rmtree(tmp_path / "codes")
  saved = builders.saved_codecs(config, str(tmp_path / "run"))[1]
  pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
  assert trained.fingerprint == made.fingerprint == saved.fingerprint
  assert trained.encode(pictures) == saved.encode(pictures)
  for one, other in zip(
    trained.decode(trained.encode(pictures)), saved.decode(saved.encode(pictures)), strict=True
  ):
    assert np.array_equal(one, other)
  assert saved.element.vocab_size == 12 + saved.element.others and saved.element.length == 4


def test_codes_follow_the_tokens_of_texts_in_one_vocabulary(folder, tmp_path):
  changes = {"image.path": str(folder / "codes"), "model.architecture": "decoder_only"}
  source, target = builders.make_codecs(with_data(DRAW, folder, **changes), str(tmp_path))
  assert target.element.others == source.element.vocab_size
  assert target.element.vocab_size == source.element.vocab_size + 12


def test_pictures_are_drawn_of_learned_codes(folder, tmp_path):
  config = with_data(DRAW, folder, **{"image.path": str(folder / "codes")})
  assert train.train(config, str(tmp_path)) == 0
  run = tfx_jax.load(str(tmp_path))
  (output,) = run.generate(["red 3"])[0][:1]
  assert output.value.shape == (8, 8, 3)
  codec = run.codecs[1]
  assert set(output.tokens[:-1]) <= set(range(codec.element.others, codec.element.vocab_size))
  metrics, _ = run.evaluate("test")
  assert "nats_per_picture" in metrics and "bits_per_dim" not in metrics


def test_the_autoencoder_gives_the_codes_that_its_run_gives(codes, folder, pictures):
  codec = trained_codes(with_data(DRAW, folder, **{"image.path": str(folder / "codes")}))
  values = [output.value for (output,) in codes.generate(pictures)]
  tokens = [output.tokens for (output,) in codes.generate(pictures)]
  ids = codec.encode([read_picture(path) for path in pictures])
  assert [[i - codec.element.others for i in sequence] for sequence in ids] == tokens
  assert all(map(np.array_equal, codec.decode(ids), values))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"image.path": "nowhere"}, r"image.path=nowhere holds no run.*image_codes.py"),
    ({"image.size": (16, 16)}, r"image.size=\(16, 16\): .*\(8, 8\)"),
    ({"image.patch": (2, 2)}, r"image.patch=\(2, 2\): .*\(4, 4\)"),
    ({"image.channels": 1}, r"image.channels=1: .* 3$"),
  ],
)
def test_codes_of_other_pictures_are_one_line(changes, message, folder):
  config = with_data(DRAW, folder, **({"image.path": str(folder / "codes")} | changes))
  with pytest.raises(UserError, match=message):
    codes_config(config)


@pytest.mark.parametrize(
  ("settings", "changes", "message"),
  [
    (AUTOENCODER, {"image.codes": 8}, "'autoencoder' needs image.codes=0"),
    (AUTOENCODER, {"model.levels": (1, 3)}, r"model.levels=\(1, 3\)"),
    (AUTOENCODER, {"model.levels": ()}, r"model.levels=\(\)"),
    (AUTOENCODER, {"model.levels": (256, 256, 256)}, "at most"),
    (AUTOENCODER, {"model.architecture": "encoder_decoder"}, "needs .*='autoencoder'"),
    (AUTOENCODER, {"task.name": "draw", "task.source": "text", "task.target": "image"}, "reconstr"),
    (DRAW, {"image.codes": 0}, "image.codes=0 is for an encoder"),
    (AUTOENCODER, {"data.source_length": 3}, "data.source_length=3: use 4 or more"),
  ],
)
def test_settings_that_do_not_go_together_are_one_line(settings, changes, message):
  with pytest.raises(UserError, match=message):
    validate(make_config(settings | changes))
