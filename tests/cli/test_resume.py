"""Whatever is set, a run that goes on from a checkpoint ends with the same bits."""

import os
import shutil

import jax
import numpy as np
import pytest
from support.tiny_run import write_experiment

import tfx_jax
from tfx_jax.main import main

SETTINGS = {
  "muon": {
    "optimizer.name": "muon",
    "train.ema_decay": 0.9,
    "train.r_drop": 1.0,
    "tokenizer.kind": "bpe",
    "tokenizer.vocab_size": 60,
    "data.source_sampling": 0.3,
    "model.copy_head": True,
  },
  "adafactor": {
    "optimizer.name": "adafactor",
    "optimizer.groups": (("encoder", {"scale": 0}), ("embedding", {"scale": 0.5})),
    "train.microbatches": 2,
    "data.batch_size": 16,
    "model.scan_layers": True,
    "model.remat": "dots",
  },
  "low_rank": {"lora.rank": 2, "optimizer.weight_decay": 0.1},
  "stream": {
    "task.name": "text",
    "task.target": "text",
    "data.format": "lines",
    "data.stream": True,
    "model.architecture": "decoder_only",
    "model.position": "rotary",
    "generate.max_length_ratio": 0.0,
  },
}


@pytest.mark.parametrize(
  "name", ["muon", *(pytest.param(x, marks=pytest.mark.slow) for x in SETTINGS if x != "muon")]
)
def test_gone_on_with_equals_uninterrupted(name, tmp_path):
  experiment = write_experiment(tmp_path)
  whole, resumed = str(tmp_path / "whole"), str(tmp_path / "resumed")
  options = [experiment, "--config.train.keep_checkpoints=3", "--config.evaluate.checkpoint=latest"]
  options += [f"--config.{key}={value}" for key, value in SETTINGS[name].items()]
  if name == "stream":
    options += [f"--config.data.{x}={tmp_path}/{x}.en" for x in ("train", "validation", "test")]
  assert main([*options, f"--workdir={whole}"]) == 0
  shutil.copytree(whole, resumed)
  for step in ("8", "12"):
    shutil.rmtree(os.path.join(resumed, "checkpoints", step))
  assert main([*options, f"--workdir={resumed}"]) == 0
  ends = [tfx_jax.load(workdir).params for workdir in (whole, resumed)]
  jax.tree.map(np.testing.assert_array_equal, *ends)
