"""Each command, at sizes that take seconds: what it prints, not how fast anything was."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest
from support.tiny_run import write_experiment, write_pairs

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
SMALL = [
  "--config.tokenizer.kind=characters",
  *(f"--config.model.{side}_layers=1" for side in ("encoder", "decoder")),
  "--config.model.features=16",
  "--config.model.feed_forward=16",
]
FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
# One device.
PLAIN = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
FEW = ["--rounds=2", "--peak=1e9", *SMALL]


def present(*modules):
  return pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in modules),
    reason=f"needs {', '.join(modules)}",
  )


@pytest.fixture(scope="module")
def multi30k(tmp_path_factory):
  folder = tmp_path_factory.mktemp("multi30k")
  write_pairs(folder)
  for split, name in FILES.items():
    for field in ("en", "de"):
      (folder / f"{split}.{field}").rename(folder / f"{name}.{field}")
  return folder


@pytest.fixture
def run(multi30k):
  """Runs a command; its lines."""

  def command(name, *arguments, fails=False):
    environment = os.environ | PLAIN | {"MULTI30K": str(multi30k)}
    done = subprocess.run(
      [sys.executable, BENCHMARKS / f"{name}.py", *map(str, arguments)],
      capture_output=True,
      text=True,
      env=environment,
    )
    if fails:
      assert done.returncode
      return done.stderr
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]

  return command


def check_lines(lines, systems, tokens):
  *each, last = lines
  assert [line["system"] for line in each] == systems
  for line in each:
    assert line["rounds"] == 2
    low, high = line[f"{tokens}_per_second_range"]
    assert 0 < low <= line[f"{tokens}_per_second"] <= high
    assert line["share_of_peak"] == pytest.approx(line["flops_per_second"] / 1e9, rel=1e-3)
    assert line["processor_seconds"] > 0
  assert list(last["ratios"]) == systems[1:]


TRAINING = ["train_step", "--rows=8", "--batches=2", *FEW]


@pytest.mark.slow
def test_train_step_of_ours(run):
  lines = run(*TRAINING)
  check_lines(lines, ["tfx_jax"], "target_tokens")
  assert lines[0]["keeps_buffers"] == (sys.platform == "linux")
  assert 0 < lines[0]["real_share_of_targets"] < 1


@pytest.mark.slow
@present("torch", "transformers")
def test_train_step_beside_peers(run):
  systems = ["torch", "torch+malloc", "marian"]
  lines = run(*TRAINING, "--no_allocator", *(f"--peer={name}" for name in systems))
  check_lines(lines, ["tfx_jax", *systems], "target_tokens")
  ours, torch, settings, marian, last = lines
  assert last["tokens_differ_by"] <= 0.02
  assert not ours["keeps_buffers"]
  assert settings["malloc"] and not torch["malloc"] and not marian["malloc"]
  # Of the same kind: a loss per token in nats, smoothed in peers, of as many pieces.
  assert torch["loss"] == pytest.approx(settings["loss"], rel=0.1)


DECODING = ["decode", "--batches=1", "--batch_size=4", *FEW]


@pytest.mark.slow
def test_greedy_decoding_of_ours(run):
  lines = run(*DECODING, "--beam=1")
  check_lines(lines, ["tfx_jax"], "output_tokens")
  assert lines[0]["beam"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 3])
@present("torch", "transformers", "ctranslate2")
def test_decoding_beside_peers(run, beam):
  int8 = "ctranslate2_int8_parallel+malloc"
  systems = ["ctranslate2", int8, "ctranslate2_parallel", "huggingface"]
  lines = run(*DECODING, f"--beam={beam}", *(f"--peer={name}" for name in systems))
  check_lines(lines, ["tfx_jax", *systems], "output_tokens")
  assert lines[1]["compute_type"] == "float32" and lines[2]["compute_type"].startswith("int8")


@pytest.fixture(scope="module")
def exportable(tmp_path_factory):
  """The workdir of a finished run that transformers has a form of."""
  folder = tmp_path_factory.mktemp("exportable")
  workdir = str(folder / "run")
  changes = {"tokenizer.kind": "bpe", "train.num_steps": 100, "generate.max_length_ratio": 0.0}
  words = [f"--config.{key}={value}" for key, value in changes.items()]
  command = ["-m", "tfx_jax.main", write_experiment(folder), f"--workdir={workdir}", *words]
  done = subprocess.run([sys.executable, *command], capture_output=True, env=os.environ | PLAIN)
  assert done.returncode == 0, done.stderr
  return workdir


PEERS = ["ctranslate2", "ctranslate2_parallel", "huggingface"]


@pytest.mark.slow
@present("torch", "transformers", "ctranslate2")
def test_peers_decode_a_trained_run_alike(run, exportable):
  lines = run(
    "decode", "--rounds=2", "--peak=1e9", "--beam=1", f"--workdir={exportable}",
    *(f"--peer={name}" for name in PEERS),
  )  # fmt: skip
  check_lines(lines, ["tfx_jax", *PEERS], "output_tokens")
  *each, last = lines
  for line in each:
    assert line["lengths"] == "natural" and line["size"] == exportable
    # Greedy search is the same everywhere, so the outputs are.
    for key in ("sentences", "output_tokens", "bleu", "bleu_signature"):
      assert line[key] == each[0][key]
    assert line["search"]
  assert each[0]["output_tokens"] > each[0]["sentences"] and each[0]["compilations"] == 0
  assert list(last["ratios_of_seconds"]) == PEERS


@pytest.mark.slow
@present("ctranslate2")
def test_a_trained_run_without_a_form_for_the_peers(run, trained):
  _, workdir = trained
  few = ["--rounds=1", "--peak=1e9", "--batches=1", "--batch_size=4", f"--workdir={workdir}"]
  line, _ = run("decode", *few)
  assert line["sentences"] == 4 and line["beam"] == line["search"]["beam_size"] == 2
  assert "tokenizer.kind" in run("decode", *few, "--peer=ctranslate2", fails=True)


@pytest.mark.slow
def test_startup(run):
  *imports, ratios, cold, warm = run("startup", "--rounds=1", *SMALL)
  assert [line["system"] for line in imports] == list(ratios["ratios_to_jax"])
  assert ratios["ratios_to_jax"]["jax"] == 1
  for line, cache in ((cold, "cold"), (warm, "warm")):
    assert line["compilation_cache"] == cache and line["seconds"] > 0
    assert line["compilations"] == 1
  assert cold["programs_compiled"] >= warm["programs_compiled"]
  assert cold["programs_compiled"] == cold["programs"] == warm["programs"] > 0


@pytest.mark.slow
@present("torch", "transformers", "ctranslate2")
def test_first_outputs(run, exportable):
  words = ["--rounds=1", "--part=shell", "--part=python", f"--workdir={exportable}", "--lines=4"]
  lines = run("startup", *words, "--peer=ctranslate2", "--peer=huggingface")
  systems = [("tfx_jax", "cold"), ("tfx_jax", "warm"), ("ctranslate2", None), ("huggingface", None)]
  calls = [("open", None), ("first", 1), ("second", 1), ("first", 4), ("second", 4)]
  expected = [("shell", None, number, *system) for number in (1, 4) for system in systems]
  expected += [("python", *call, *system) for system in systems for call in calls]
  found = [
    tuple(map(line.get, ("name", "call", "lines", "system", "compilation_cache"))) for line in lines
  ]
  assert found == expected
  for line in lines:
    assert line["seconds"] > 0 and line["ratio_to_jax_devices"] > 0
    assert ("programs" in line) == (line["system"] == "tfx_jax")
    if line.get("call") == "second":
      assert not line.get("programs_compiled")


def test_outputs_need_a_trained_run(run):
  assert "--part=shell needs --workdir" in run("startup", "--part=shell", fails=True)


@pytest.mark.slow
def test_data(run):
  (line,) = run("data", "--rounds=1", "--steps=5", *SMALL, "--config.data.batch_size=8")
  assert 0 <= line["waiting_share"] <= 1 and line["target_tokens_per_second"] > 0


@pytest.mark.slow
def test_mfu(run):
  # The command with one layer and few pieces: its models are for GPUs.
  changes = ["model.decoder_layers=1", "model.encoder_layers=1", "model.features=16"]
  (line,) = run(
    "mfu", "--model=decoder", "--rows=1", "--steps=1", "--rounds=1", "--peak=1e9",
    *(f"--config.{change}" for change in changes), "--config.model.feed_forward=16",
  )  # fmt: skip
  assert line["share_of_peak"] > 0 and line["rounds"] == 1


@pytest.mark.slow
def test_matmul(run):
  *libraries, best = run("matmul", "--sizes=32,64", "--threads=1")
  assert best["flops_per_second"] == max(line["flops_per_second"] for line in libraries)
  assert {"jax", "numpy"} <= {line["system"] for line in libraries}


@pytest.mark.slow
@pytest.mark.parametrize(("what", "axis"), [("training", "batch"), ("decoding", "beam")])
def test_growth(run, tmp_path, what, axis):
  point = "width=16,depth=1,length=8,batch=2,vocabulary=64,beam=2"
  output = tmp_path / "growth"
  lines = run(
    "growth", f"--output={output}", f"--what={what}", f"--axis={axis}", "--values=1,8",
    f"--point={point}", "--rounds=1",
  )  # fmt: skip
  assert [line["value"] for line in lines] == [1, 8]
  assert all(line["seconds"] > 0 and line["peak_mb"] > 0 for line in lines)
  if what == "training":
    assert lines[0]["program_mb"] < lines[1]["program_mb"]
  assert f"| {axis} | 1, 8 |" in (tmp_path / "growth.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif("FLAX_WMT" not in os.environ, reason="needs FLAX_WMT, flax's example")
def test_beside_the_example_of_flax(run):
  lines = run(*TRAINING, "--peer=flax")
  check_lines(lines, ["tfx_jax", "flax"], "target_tokens")
  assert lines[-1]["tokens_differ_by"] == 0
  check_lines(run(*DECODING, "--beam=3", "--peer=flax"), ["tfx_jax", "flax"], "output_tokens")


def test_a_missing_peer_is_reported(run, monkeypatch):
  monkeypatch.delenv("FLAX_WMT", raising=False)
  assert "--peer=flax needs FLAX_WMT" in run("decode", "--peer=flax", fails=True)


def test_a_peer_without_trained_weights_is_reported(run, tmp_path, monkeypatch):
  monkeypatch.setenv("FLAX_WMT", str(tmp_path))
  said = run("decode", "--workdir=runs/none", "--peer=flax", fails=True)
  assert "--peer=flax has no form of a trained run" in said


def test_a_mistyped_option_is_reported(run):
  assert "--perr=torch" in run("train_step", "--perr=torch", fails=True)


def test_a_mistyped_key_is_one_line(run):
  lines = run("retrieval_dialogue", "--config.modle.features=1", fails=True).splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: ")
