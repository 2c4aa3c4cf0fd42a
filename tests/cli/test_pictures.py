"""Runs of pictures, from the command line and from Python."""

import asyncio
import contextlib
import os

import numpy as np
import pytest
from PIL import Image

import tfx_jax
from tfx_jax import builders
from tfx_jax.cli import evaluate, train
from tfx_jax.common.picture_files import read_picture, write_picture
from tfx_jax.errors import UserError
from tfx_jax.main import main
from tfx_jax.sources import scenes

TINY = {
  "tokenizer.vocab_size": 30,
  "model.features": 16,
  "model.num_heads": 2,
  "model.encoder_layers": 1,
  "model.decoder_layers": 1,
  "model.feed_forward": 32,
  "train.num_steps": 4,
  "train.eval_every": 4,
  "train.decode_every": 4,
  "train.decode_examples": 5,
  "train.checkpoint_every": 4,
  "evaluate.num_samples": 2,
}


@pytest.fixture(scope="module")
def few_scenes():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(scenes, "SIZES", {"train": 200, "validation": 6, "test": 6})
    yield list(scenes.ScenesSource("test", scenes.FIELDS))


@pytest.fixture(scope="module", params=["draw", "describe", "draw-decoder_only"])
def run(request, few_scenes, tmp_path_factory):
  """A run that was trained for a few steps."""
  workdir = tmp_path_factory.mktemp(request.param) / "run"
  with pytest.MonkeyPatch.context() as patch:
    for command in (train, evaluate):
      patch.setattr(command, "draw_curves", lambda workdir: None)
    overrides = [f"--config.{key}={value}" for key, value in TINY.items()]
    assert main([f"--config=scenes:{request.param}", f"--workdir={workdir}", *overrides]) == 0
  return request.param.partition("-")[0], workdir


def test_samples_are_drawn(run):
  task, workdir = run
  for name in ("4-validation", "4-test"):
    text = (workdir / "samples" / f"{name}.txt").read_text()
    assert ("source" in text) == (task == "draw") and ("output" in text) == (task == "describe")
    assert (workdir / "samples" / f"{name}.png").stat().st_size > 1000
  metric = {"draw": "scene_match/three", "describe": "exact_match/three"}[task]
  assert metric in (workdir / "metrics.jsonl").read_text().splitlines()[-1]


def test_python_and_the_command_line_give_the_same(run, few_scenes, tmp_path, capsys):
  task, workdir = run
  loaded = tfx_jax.load(str(workdir))
  captions = [record["caption"] for record in few_scenes]
  pictures = [record["picture"] for record in few_scenes]
  paths = []
  for number, picture in enumerate(pictures):
    paths.append(str(tmp_path / f"{number}.png"))
    write_picture(paths[-1], picture)
  lines = captions if task == "draw" else paths
  with pytest.raises(UserError, match=r"guidance=2.0: this run has data\.source_dropout=0"):
    loaded.generate(lines, guidance=2.0)
  (tmp_path / "in").write_text("\n".join(lines) + "\n")
  output = tmp_path / "out"
  command = ["--mode=generate", f"--workdir={workdir}", f"--input={tmp_path}/in"]
  assert main([*command, f"--output={output}"]) == 0
  if task == "describe":
    found = loaded.generate(pictures)
    assert [best[0].text for best in found] == output.read_text().splitlines()
    assert loaded.generate(paths) == found
    with pytest.raises(UserError, match="draw: the outputs of this run are texts: use generate"):
      loaded.draw(captions)
    return
  found = [best[0].value for best in loaded.generate(captions)]
  shown = np.asarray(loaded.draw(captions[:2]).convert("RGB"))
  assert all((shown == colour).all(axis=-1).any() for colour in found[0].reshape(-1, 3))
  names = [f"{number:05}.png" for number in range(1, len(captions) + 1)]
  assert sorted(os.listdir(output)) == [*names, "index.html"]
  for name, picture in zip(names, found, strict=True):
    assert picture.shape == (16, 16, 3) and picture.dtype == np.uint8
    assert np.array_equal(read_picture(str(output / name)), picture)
  page = (output / "index.html").read_text()
  assert all(page.count(part) == 1 for part in [f">{captions[0]}<", *names])
  # What is there is not overwritten.
  capsys.readouterr()
  assert main([*command, f"--output={output}"]) == 2
  assert "choose a folder that does not exist or is empty" in capsys.readouterr().err
  # Settings that pictures have no use for are refused, not ignored.
  for name in ("scores", "alignments", "stream"):
    asked = [*command, f"--output={tmp_path}/new", f"--config.generate.{name}=True"]
    assert main(asked) == 2
    assert f"generate.{name}=True" in capsys.readouterr().err


def test_bad_inputs_are_one_line(run, tmp_path, capsys):
  task, workdir = run
  (tmp_path / "in").write_text("none.png\n")
  command = ["--mode=generate", f"--workdir={workdir}", f"--input={tmp_path}/in"]
  capsys.readouterr()
  with contextlib.suppress(UserError):
    assert main(command) == 2
  message = capsys.readouterr().err.splitlines()[-1]
  assert {"draw": "use --output=FOLDER", "describe": "no file none.png"}[task] in message


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("data.target_length", 64),
    ("image.channels", 2),
    ("image.fit", "cut"),
    ("model.share_embeddings", True),
    ("image.patch", "(3,3)"),
    ("task.metrics", "(scene_mach,)"),
  ],
)
def test_settings_that_pictures_do_not_allow_are_named(key, value, tmp_path, capsys):
  assert main(["--config=scenes", f"--workdir={tmp_path}/x", f"--config.{key}={value}"]) == 2
  assert key in capsys.readouterr().err


def test_the_page_of_a_run_answers(run, few_scenes):
  pytest.importorskip("gradio")
  from tfx_jax.demo.page import make_page

  task, workdir = run
  loaded, record = tfx_jax.load(str(workdir)), few_scenes[0]

  async def handler():
    # Gradio needs an event loop that runs.
    made = make_page(loaded, builders.make_task(loaded.config), "scenes")
    found = next(each for each in made.fns.values() if each.name == task)
    return found.fn, [component.value for component in found.inputs]

  answer, (_, *settings) = asyncio.run(handler())
  source = record["caption" if task == "draw" else "picture"]
  ((output, note),) = answer(source if task == "draw" else Image.fromarray(source), *settings)
  ((best, *_),) = loaded.generate([source])
  assert not note["visible"]
  if task == "draw":
    assert np.array_equal(output[::16, ::16], best.value)
  else:
    assert output == best.text
  for wrong in [""] if task == "draw" else [None, Image.new("RGB", (5, 5))]:
    ((nothing, note),) = answer(wrong, *settings)
    assert not nothing and note["visible"]
