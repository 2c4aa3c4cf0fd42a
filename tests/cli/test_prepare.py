"""Making tokenizer and corpora ahead of training."""

import json
import os

from tfx_jax.main import main


def test_mode_prepare_makes_tokenizer_and_corpora_for_training(trained, tmp_path, capsys):
  experiment, workdir = str(trained[0]), str(tmp_path / "run")
  cache = tmp_path / "corpora"
  options = [experiment, f"--workdir={workdir}", f"--config.data.cache_dir={cache}"]
  assert main([*options, "--mode=prepare"]) == 0
  assert sorted(os.listdir(workdir)) == ["config.json", "tokenizer"]
  assert len(os.listdir(cache)) == 3
  out, err = capsys.readouterr()
  assert err.splitlines() == [
    "making the tokenizer and tokenizing the data",
    "the vocabulary has 17 pieces: the text does not fill tokenizer.vocab_size=40",
  ]
  assert '"pairs_kept": 200' in out and [line.split(":")[0] for line in out.splitlines()] == [
    "train",
    "validation",
    "test",
  ]


def test_without_validation_and_test_data_a_line_says_what_is_held_out(trained, tmp_path, capsys):
  options = [str(trained[0]), f"--workdir={tmp_path / 'run'}", "--mode=prepare"]
  options += ["--config.data.validation=", "--config.data.test=", "--config.data.held_out=0.1"]
  assert main(options) == 0
  out, err = capsys.readouterr()
  assert err.splitlines()[0] == (
    "data.validation and data.test are empty: 0.1 of the records of data.train is held out for "
    "each, by their content (data.held_out=0.1)"
  )
  counts = [json.loads(line.partition(":")[2])["pairs_kept"] for line in out.splitlines()]
  assert sum(counts) == 200 and 5 < min(counts[1:]) <= max(counts[1:]) < 40
