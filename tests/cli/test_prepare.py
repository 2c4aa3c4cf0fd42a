"""Making tokenizer and corpora ahead of training."""

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
  assert err == ""
  assert '"pairs_kept": 200' in out and [line.split(":")[0] for line in out.splitlines()] == [
    "train",
    "validation",
    "test",
  ]
