"""Folders of transformers without transformers: read and written, and what is wrong with them."""

import json
import os
import shutil
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.numpy import load_file, save_file
from support.from_scratch import (
  EXPERIMENTS,
  GIVEN_AWAY,
  KEPT,
  MODEL,
  architectures,
  make_config,
  make_run,
  read_experiment,
)
from support.tiny_run import read_log, settings, write_pairs

import tfx_jax
from tfx_jax.config import base
from tfx_jax.errors import UserError
from tfx_jax.main import main
from tfx_jax.pretrained.export import find_family

DEFAULTS = base().model.to_dict()
TEXTS = ["ab cd", "fed cba ab", "de"]


@pytest.fixture(scope="session")
def run():
  return make_run()


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory):
  folder = tmp_path_factory.mktemp("exported") / "model"
  run.export(str(folder))
  return folder


@pytest.fixture
def folder(exported, tmp_path):
  """One that may be damaged."""
  return shutil.copytree(exported, tmp_path / "model")


def test_a_model_from_scratch_is_given_away_and_comes_back(run, exported):
  again = tfx_jax.load(str(exported))
  assert json.loads((exported / "config.json").read_text())["architectures"] == ["MarianMTModel"]
  table, found = (r.params["target_embed"]["embedding"] for r in (run, again))
  # EOS first, and last what begins all that is written.
  np.testing.assert_array_equal(table[np.array([1, 2, *range(4, 41), 0, 3])], found[:41])
  assert not np.asarray(found[41:]).any()
  assert again.score(TEXTS, TEXTS) == pytest.approx(run.score(TEXTS, TEXTS), rel=1e-5)
  ours, theirs = (r.generate(TEXTS, length_penalty_form="gnmt") for r in (run, again))
  assert [h[0].text for h in ours] == [h[0].text for h in theirs]
  assert again.config.generate.beam_size == 2 and again.config.generate.max_length == 20
  assert again.config.generate.length_penalty_form == "power"


def test_without_a_bias_of_the_output_it_is_given_away_with_one_of_zeros(tmp_path):
  folder = str(tmp_path / "out")
  make_run(output_bias=False).export(folder)
  assert not load_file(f"{folder}/model.safetensors")["final_logits_bias"].any()


LLAMA = {
  **{"architecture": "decoder_only", "norm_placement": "pre", "position": "rotary"},
  **{"output_bias": False, "scale_embeddings": False, "norm": "rms_norm", "use_bias": False},
  **{"activation": "silu", "gated": True, "num_kv_heads": 1, "tie_output": False},
}


@pytest.mark.parametrize(
  ("changes", "found"),
  [
    ({}, "MarianMTModel"),
    ({"norm_placement": "pre"}, "PegasusForConditionalGeneration"),
    (
      {"norm_placement": "pre", "position": "learned", "embedding_norm": True},
      "MBartForConditionalGeneration",
    ),
    ({"position": "learned", "embedding_norm": True}, "BartForConditionalGeneration"),
    (
      {"architecture": "decoder_only", "norm_placement": "pre", "position": "learned"}
      | {"output_bias": False, "scale_embeddings": False},
      "GPT2LMHeadModel",
    ),
    (LLAMA, "LlamaForCausalLM"),
    (LLAMA | {"windows": (5,)}, "MistralForCausalLM"),
    (LLAMA | {"windows": (0, 5), "qkv_bias": True}, "Qwen2ForCausalLM"),
  ],
)
def test_settings_have_a_family(changes, found):
  assert find_family(make_config(**changes).model.to_dict(), DEFAULTS).architecture == found


@pytest.mark.parametrize(
  ("changes", "named"),
  [
    ({"position": "rotary"}, "model.position is 'sinusoidal', not 'rotary'"),
    ({"norm_epsilon": 1e-6}, "model.norm_epsilon is 1e-05, not 1e-06"),
    ({"copy_head": True}, "model.copy_head is False, not True"),
    ({"norm_placement": "sandwich"}, "model.norm_placement"),
    (LLAMA | {"windows": (3, 5), "qkv_bias": True}, "model.windows is (5,), not (3, 5)"),
  ],
)
def test_settings_without_a_family_are_named(changes, named):
  changed = MODEL | changes
  with pytest.raises(UserError, match="transformers has no such model") as error:
    find_family(DEFAULTS | changed, DEFAULTS)
  assert named in str(error.value) and "\n" not in str(error.value)


def test_every_experiment_is_given_away_or_not():
  known = {name.partition(":")[0] for name in (*GIVEN_AWAY, *KEPT)}
  assert known == {path.stem for path in EXPERIMENTS.glob("*.py")}


@pytest.mark.parametrize(("name", "found"), GIVEN_AWAY.items())
def test_a_model_of_an_experiment_has_a_family(name, found):
  config = read_experiment(name)
  assert find_family(config.model.to_dict(), DEFAULTS).architecture == found
  assert config.tokenizer.joint and config.tokenizer.kind in ("unigram", "bpe")
  # A start that is learnt is not read by CTranslate2, which takes Marian's to be zero.
  assert config.model.zero_start == (found == "MarianMTModel")


@pytest.mark.parametrize(("name", "named"), KEPT.items())
def test_a_model_of_an_experiment_without_a_family_is_refused(name, named):
  with pytest.raises(
    UserError, match=r"^transformers has no such model: the most similar is "
  ) as error:
    find_family(read_experiment(name).model.to_dict(), DEFAULTS)
  message = str(error.value)
  assert named in message and "format='safetensors'" in message and "\n" not in message


@pytest.mark.parametrize("name", architectures())
def test_an_exported_model_of_an_experiment_is_read_again(name, tmp_path):
  run = make_run(**architectures()[name])
  run.export(str(tmp_path / "out"))
  again = tfx_jax.load(str(tmp_path / "out"))
  np.testing.assert_allclose(again.score(TEXTS, TEXTS), run.score(TEXTS, TEXTS), rtol=1e-5)


def change_tensors(folder, change):
  path = str(folder / "model.safetensors")
  tensors = load_file(path)
  change(tensors)
  save_file(tensors, path)


def change_config(folder, **changes):
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


NORM = "model.decoder.layers.1.final_layer_norm.weight"


@pytest.mark.parametrize(
  ("damage", "named"),
  [
    (lambda f: change_tensors(f, lambda t: t.pop(NORM)), f"lacks the tensor {NORM} [16]"),
    (
      lambda f: change_tensors(f, lambda t: t.update(odd=np.zeros(2, np.float32))),
      "has the tensor odd, which this architecture does not use",
    ),
    (
      lambda f: change_tensors(f, lambda t: t.update({NORM: np.ones(15, np.float32)})),
      f"the tensor {NORM} is [15], but [16] by config.json",
    ),
    (
      lambda f: change_tensors(f, lambda t: t.update({NORM: np.ones(16, np.int32)})),
      f"the tensor {NORM} is of int32, not of floats",
    ),
    (
      lambda f: os.truncate(f / "model.safetensors", 5000),
      "model.safetensors is damaged",
    ),
    (lambda f: os.remove(f / "model.safetensors"), "has no weights"),
    (lambda f: (f / "config.json").write_text('{"model_type": '), "config.json"),
    (
      lambda f: change_config(f, architectures=["BertModel"]),
      "architectures=['BertModel'] is not supported: use one of MarianMTModel",
    ),
    (
      lambda f: change_config(f, normalize_before=True),
      "normalize_before=True is not supported, only False",
    ),
    (
      lambda f: change_config(f, activation_function="mish"),
      "activation_function='mish' is not supported, only relu",
    ),
    (lambda f: change_config(f, d_model=None), "config.json lacks 'd_model'"),
    (
      lambda f: change_config(f, vocab_size=43),
      "the tensor model.shared.weight is [41, 16], but [43, 16] by config.json",
    ),
    (lambda f: os.remove(f / "vocab.json"), "vocab.json"),
    (lambda f: os.remove(f / "source.spm"), "has no tokenizer.json"),
    (
      lambda f: (f / "generation_config.json").write_text('{"penalty_alpha": 0.6}'),
      "penalty_alpha=0.6 is not supported",
    ),
  ],
)
def test_an_error_in_a_folder_is_one_line(folder, damage, named):
  damage(folder)
  with pytest.raises(UserError) as error:
    tfx_jax.load(str(folder))
  assert named in str(error.value) and "\n" not in str(error.value)


def test_tensors_may_be_in_several_files(run, folder):
  whole = load_file(str(folder / "model.safetensors"))
  index = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(whole)}
  for part in set(index.values()):
    tensors = {name: x for name, x in whole.items() if index[name] == part}
    save_file(tensors, str(folder / part))
  os.remove(folder / "model.safetensors")
  path = folder / "model.safetensors.index.json"
  path.write_text(json.dumps({"weight_map": index}))
  again = tfx_jax.load(str(folder))
  assert again.score(TEXTS, TEXTS) == pytest.approx(run.score(TEXTS, TEXTS), rel=1e-5)
  path.write_text(json.dumps({"weight_map": index | {"gone": "part-0.safetensors"}}))
  with pytest.raises(UserError, match="lists the tensor gone"):
    tfx_jax.load(str(folder))


def test_half_precision_is_read_as_float32(run, folder):
  def halve(tensors):
    tensors |= {name: x.astype(np.float16) for name, x in tensors.items()}

  change_tensors(folder, halve)
  params = tfx_jax.load(str(folder)).params
  assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}
  kernel = np.asarray(run.params["encoder_stack"]["layers"]["stacked"]["mlp"]["up"]["kernel"])
  np.testing.assert_array_equal(
    params["encoder_stack"]["layers"]["stacked"]["mlp"]["up"]["kernel"],
    kernel.astype(np.float16).astype(np.float32),
  )


def test_a_name_on_the_hub_is_downloaded(run, folder, monkeypatch):
  asked = []

  def snapshot_download(name, allow_patterns):
    asked.append((name, "*.bin" in allow_patterns))
    if name == "nobody/nothing":
      raise OSError("no connection\nand a long explanation")
    if name == "nobody/knows":
      response = SimpleNamespace(headers={}, request=None)
      raise RepositoryNotFoundError("401 Client Error\nand more", response=response)
    return str(folder)

  monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
  again = tfx_jax.load("hf://somebody/something")
  assert again.score(TEXTS, TEXTS) == pytest.approx(run.score(TEXTS, TEXTS), rel=1e-5)
  assert set(asked) == {("somebody/something", False)}
  with pytest.raises(UserError, match=r"^cannot download hf://nobody/nothing: no connection$"):
    tfx_jax.load("hf://nobody/nothing")
  with pytest.raises(UserError, match=r"^hf://nobody/knows: there is no such model, or"):
    tfx_jax.load("hf://nobody/knows")
  os.remove(folder / "model.safetensors")
  with pytest.raises(UserError, match="has no weights"):
    tfx_jax.load("hf://somebody/something")
  assert asked[-1] == ("somebody/something", True)
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(UserError, match=r"^hf://a/b needs huggingface_hub: pip install"):
    tfx_jax.load("hf://a/b")


def test_a_folder_in_use_is_left_alone(run, folder):
  before = sorted(os.listdir(folder))
  with pytest.raises(UserError, match="is not empty"):
    run.export(str(folder))
  with pytest.raises(UserError, match="format='onnx': use huggingface, safetensors or adapters"):
    run.export(str(folder), format="onnx")
  with pytest.raises(UserError, match="family 'Bart' is not supported"):
    run.export(str(folder.parent / "other"), architecture="Bart")
  assert sorted(os.listdir(folder)) == before and os.listdir(folder.parent) == ["model"]


def test_our_own_names_are_paths(run, tmp_path):
  run.export(str(tmp_path / "out"), format="safetensors")
  tensors = load_file(str(tmp_path / "out" / "model.safetensors"))
  np.testing.assert_array_equal(
    tensors["target_embed/embedding"], run.params["target_embed"]["embedding"]
  )
  assert len(tensors) == len(jax.tree.leaves(run.params))


def test_a_folder_is_a_run_of_the_command_line(exported, tmp_path, capsys):
  (tmp_path / "in").write_text("ab cd\n\nde\n")
  arguments = [f"--workdir={exported}", "--mode=generate", f"--input={tmp_path / 'in'}"]
  assert main([*arguments, "--config.generate.beam_size=1"]) == 0
  lines = capsys.readouterr().out.split("\n")
  assert len(lines) == 4 and lines[1] == ""


def test_training_starts_from_a_folder_and_resumes_without_it(folder, tmp_path, capsys):
  write_pairs(tmp_path)
  changes = {key: value for key, value in settings(tmp_path).items() if key.startswith("data.")}
  changes |= {"train.num_steps": 4, "train.log_every": 1, "train.eval_every": 4}
  changes |= {"optimizer.learning_rate": 0.0, "generate.max_length": 20, "train.decode_every": 0}
  changes |= {"train.checkpoint_every": 2, "generate.max_source_length": 24, "model.dropout": 0.0}
  experiment = tmp_path / "tune.py"
  lines = ["from tfx_jax.config import base", "", "", "def get_config():", "  config = base()"]
  lines += [f"  config.{key} = {value!r}" for key, value in changes.items()]
  experiment.write_text("\n".join([*lines, "  return config", ""]))
  workdir = str(tmp_path / "run")
  command = [f"--config={experiment}", f"--workdir={workdir}"]
  command += [f"--config.train.init_from={folder}"]
  assert main(command) == 0
  assert "by train.init_from: model.features: 512 -> 16" in capsys.readouterr().err
  tuned, given = tfx_jax.load(workdir), tfx_jax.load(str(folder))
  jax.tree.map(np.testing.assert_array_equal, tuned.params, given.params)
  assert tuned.score(TEXTS, TEXTS) == pytest.approx(given.score(TEXTS, TEXTS), rel=1e-5)
  shutil.rmtree(folder)
  assert main(command) == 0
  assert "finished at step 4" in capsys.readouterr().err
  assert [line["split"] for line in read_log(workdir)][-1] == "test"
