"""Models without an encoder, from training to what they write."""

import pytest
from support.tiny_run import read_log, write_experiment

from tfx_jax import load
from tfx_jax.errors import UserError
from tfx_jax.main import main

TEXT = ["task.name=text", "task.target=text", "data.format=lines", "generate.max_length_ratio=0.0"]


@pytest.mark.parametrize(
  ("kind", "settings"),
  [
    ("answer", []),
    ("continue", TEXT),
    ("stream", [*TEXT, "data.stream=True"]),
  ],
)
def test_a_decoder_alone_is_trained_and_used(tmp_path, capsys, kind, settings):
  experiment, workdir = write_experiment(tmp_path), tmp_path / "run"
  settings = ["model.architecture=decoder_only", "model.position=rotary", *settings]
  if kind != "answer":
    settings += [f"data.{s}={tmp_path}/{s}.en" for s in ("train", "validation", "test")]
  options = [f"--config.{setting}" for setting in settings]
  assert main([experiment, f"--workdir={workdir}", *options]) == 0
  last = read_log(workdir)[-1]
  assert last["split"] == "test" and ("bleu" in last) == (kind == "answer")
  assert 0 < last["bits_per_byte"] < 20 and last["word_perplexity"] > 1
  told = capsys.readouterr().err
  rows = {"answer": "of 48 tokens real", "continue": "of 24 tokens real"}
  assert rows.get(kind, "tokens in rows of 24") in told
  assert "output  " in told

  run = load(str(workdir))
  ((best,),) = run.generate(["ab"], beam_size=1)
  assert run.score(["ab"], [best.tokens])[0] == pytest.approx(best.log_prob, rel=1e-4)
  with pytest.raises(UserError, match="alignments need an encoder"):
    run.attention(["ab"], ["AB"])


def test_an_encoder_decoder_goes_on_with_texts(tmp_path, capsys):
  experiment, workdir = write_experiment(tmp_path), tmp_path / "run"
  settings = [*TEXT, *(f"data.{s}={tmp_path}/{s}.en" for s in ("train", "validation", "test"))]
  options = [f"--config.{setting}" for setting in [*settings, "data.target_length=4"]]
  assert main([experiment, f"--workdir={workdir}", *options]) == 0
  assert "bits_per_byte" in read_log(workdir)[-1]
  ((best,),) = load(str(workdir)).generate([""], beam_size=1)
  assert best.tokens
