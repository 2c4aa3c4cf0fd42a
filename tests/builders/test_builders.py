import itertools

import jax
import numpy as np
import pytest
from support.tiny_run import make_config, write_pairs

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.codecs.codec import Tokens
from tfx_jax.codecs.special_tokens import DEFAULT, SpecialTokens
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.models.parameters import EXAMPLE
from tfx_jax.models.quantized import count_parameters
from tfx_jax.training.state import plan_params

TOKENIZERS = (CharacterTokenizer("abcdef "), CharacterTokenizer("ABCDEF !?"))


def failure(function, *args):
  with pytest.raises(UserError) as info:
    function(*args)
  assert "\n" not in str(info.value)
  return str(info.value)


def shapes(changes):
  """The parameters' shapes by their joined names."""
  config = make_config(changes)
  validate(config)
  model = builders.make_model(config, (TOKENIZERS[1], TOKENIZERS[1]))
  params = plan_params(model, EXAMPLE, builders.make_parallel(config))[0]
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}, params


def names(changes):
  return set(shapes(changes)[0])


def ending(found, *ends):
  return {name for name in found if name.endswith(ends)}


def test_positions_are_built_from_the_configuration():
  # Texts have no rows and columns.
  positions = [kind for kind in builders.POSITIONS if not kind.endswith("_2d")]
  kinds = {kind: names({"model.position": kind}) for kind in positions}
  usual = kinds["none"]
  assert usual == kinds["sinusoidal"] == kinds["rotary"] == kinds["alibi"]
  learned = {"source_position/embedding", "target_position/embedding"}
  assert kinds["learned"] - usual == learned
  bias = {f"{side}_stack/relative_bias/embedding" for side in ("encoder", "decoder")}
  assert kinds["bucket"] - usual == bias
  made = {
    kind: builders.make_model(make_config({"model.position": kind}), TOKENIZERS) for kind in kinds
  }
  for kind, model in made.items():
    assert (model.position_source is not None) == (kind in ("sinusoidal", "learned"))
    for stack in (model.encoder, model.decoder):
      assert (stack.keywords["relative"] is not None) == (kind in ("alibi", "bucket"))
      assert stack().block().attention().rotary == (kind == "rotary")
    for cross in [model.decoder().block().cross_attention()]:
      assert not cross.rotary
  assert made["bucket"].encoder().relative().bidirectional
  assert not made["bucket"].decoder().relative().bidirectional


def test_norms_are_built_from_the_configuration():
  layer, rms = names({}), names({"model.norm": "rms_norm"})
  assert {name for name in layer - rms if "norm" in name} == layer - rms != set()
  assert all(name.endswith("bias") for name in layer - rms)
  assert rms < layer
  final = ending(layer, "stack/norm/scale", "stack/norm/bias")
  assert len(final) == 4
  assert names({"model.norm_placement": "post"}) == layer - final
  sandwich = names({"model.norm_placement": "sandwich"})
  assert len(ending(sandwich, "norms_1/scale")) == len(ending(sandwich, "norms_0/scale")) == 5


def test_attention_and_feed_forward_are_built_from_the_configuration():
  sizes = shapes({"model.num_heads": 4, "model.num_kv_heads": 2, "model.head_dim": 6})[0]
  kernels = {name: size for name, size in sizes.items() if "attention" in name}
  for name, size in kernels.items():
    kind = name.split("/")[-2:]
    if kind == ["query", "kernel"]:
      assert size == (1, 16, 4, 6)
    if kind in (["key", "kernel"], ["value", "kernel"]):
      assert size == (1, 16, 2, 6)
  assert not ending(names({"model.use_bias": False}), "bias")
  plain, gated = (shapes({"model.gated": gated})[1] for gated in (False, True))
  assert count_parameters(gated) - count_parameters(plain) == 2 * (16 * 32 + 32)
  assert next(iter(sizes.values()))[0] == 1
  sizes = shapes({"model.encoder_layers": 3, "model.decoder_layers": 2})[0]
  assert {size[0] for name, size in sizes.items() if "encoder_stack/layers" in name} == {3}
  assert {size[0] for name, size in sizes.items() if "decoder_stack/layers" in name} == {2}


def test_embeddings_are_tied_three_ways():
  table = 16 * 16  # 13 characters and specials, rounded up to a multiple of 8, times the features

  def count(share, tie, bias=False):
    changes = {"share_embeddings": share, "tie_output": tie, "output_bias": bias}
    return count_parameters(shapes({f"model.{k}": v for k, v in changes.items()})[1])

  all_tied = count(True, True)
  assert count(False, True) == count(True, False) == all_tied + table
  assert count(False, False) == all_tied + 2 * table
  assert count(True, True, bias=True) == all_tied + 16


def test_vocabularies_are_those_of_their_sides():
  config = make_config({"model.share_embeddings": False, "tokenizer.joint": False})
  config.model.vocab_multiple = 4
  source, target = TOKENIZERS
  assert (source.vocab_size, target.vocab_size) == (11, 13)
  model = builders.make_model(config, TOKENIZERS)
  assert model.embed_source().vocab_size == 12
  assert model.embed_target().vocab_size == model.head().vocab_size == 16
  assert model.head().num_tokens == 13


def test_the_type_of_the_products_is_that_of_the_device(monkeypatch):
  def dtype(name):
    return builders.make_model(make_config({"model.dtype": name}), TOKENIZERS).head().dtype

  assert [dtype(name) for name in ("auto", "float32", "bfloat16")] == [
    np.float32,
    np.float32,
    jax.numpy.bfloat16,
  ]
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert dtype("auto") == jax.numpy.bfloat16


class Shouting:
  """A task."""

  has_source, identity, metrics = True, "shouting", ("chrf",)

  def __init__(self, source, target, **settings):
    self.source, self.settings = source, settings

  def fields(self, split):
    return (self.source,)

  def examples(self, record):
    yield Example(record[self.source], record[self.source].upper())

  eval_examples = examples

  def score(self, predictions, examples):
    return {}

  def corpus_metrics(self):
    return {}


class Greetings:
  """A reader."""

  fingerprint = "greetings"

  def __init__(self, path, fields):
    self.path, self.fields = path, fields

  def __iter__(self):
    for name in ("anna", "berta"):
      yield {field: f"{self.path} {name}" for field in self.fields}


def test_a_task_and_a_reader_of_the_users_own(tmp_path):
  config = make_config(
    {
      "task.name": f"{__name__}:Shouting",
      "data.format": f"{__name__}:Greetings",
      "data.train": "hi",
      "data.cache_dir": str(tmp_path / "corpora"),
    }
  )
  validate(config)
  assert builders.make_task(config).settings["lowercase"] is False
  examples = builders.read_examples(config, "train")
  assert examples == [Example("hi anna", "HI ANNA"), Example("hi berta", "HI BERTA")]
  assert builders.read_examples(config, "train", 1) == examples[:1]
  tokenizers = builders.make_codecs(config, str(tmp_path / "run"))
  corpus = builders.make_corpus(config, "train", tokenizers)
  assert tokenizers[1].decode([corpus.targets[1]]) == ["HI BERTA"]
  assert corpus.report["pairs_kept"] == 2


class Partial:
  """No task."""

  def __init__(self, source):
    raise AssertionError("it was called")


class Vague(Shouting):
  """A task that asks for what no key of the section gives."""

  def __init__(self, colour):
    raise AssertionError("it was called")


class Silent:
  """A task without metrics, not even none."""

  has_source, identity = True, "silent"
  fields = examples = eval_examples = score = corpus_metrics = Shouting.fields


@pytest.mark.parametrize(
  ("name", "told"),
  [
    ("Partial", "is no task: it has no identity"),
    ("Vague", "cannot be called with ("),
    ("Silent", "is no task: it has no metrics"),
    ("failure", "is no task: it is not a class"),
  ],
)
def test_what_is_no_task_is_not_called_or_told_at_once(name, told):
  config = make_config({"task.name": f"{__name__}:{name}"})
  assert failure(builders.make_task, config).startswith(f"task.name='{__name__}:{name}' {told}")


def test_data_that_is_missing_says_where_it_is_from():
  config = make_config({"data.test": "nowhere/test"})
  assert failure(builders.make_source, config, "test") == (
    "no file nowhere/test.en or nowhere/test.en.gz (data.test=nowhere/test; without data.test, a "
    "share of data.train is held out for it)"
  )
  config.data.origin = "get it from https://example.org and set PLACE to its folder"
  assert failure(builders.make_source, config, "test").endswith(
    "(data.test=nowhere/test; this experiment's data: get it from https://example.org and set "
    "PLACE to its folder)"
  )


def test_what_is_tested_on_is_left_out_of_training(tmp_path):
  write_pairs(tmp_path)
  changes = {"data.remove_overlap": True, "data.cache_dir": str(tmp_path / "corpora")}
  plain, config = make_config({}, tmp_path), make_config(changes, tmp_path)
  train, *others = ([*builders.make_source(plain, split)] for split in builders.SPLITS)
  held_out = {record["en"].replace(" ", "") for records in others for record in records}
  expected = [record for record in train if record["en"].replace(" ", "") not in held_out]
  assert 0 < len(expected) < len(train)
  assert [*builders.make_source(config, "train")] == expected
  for split, records in zip(builders.SPLITS[1:], others, strict=True):
    assert [*builders.make_source(config, split)] == records
  for _ in range(2):  # made, then found
    report = builders.make_corpus(config, "train", TOKENIZERS).report
    assert report["records_removed"] == len(train) - len(expected)
    assert report["pairs_read"] == len(expected)
  config.task.name = f"{__name__}:Shouting"
  assert "Shouting' has no overlap_keys" in failure(builders.make_source, config, "train")


def test_tokenizers_are_made_once_and_then_the_runs_own(tmp_path, monkeypatch):
  write_pairs(tmp_path)
  config = make_config({"model.share_embeddings": False}, tmp_path)
  joint = builders.make_codecs(config, str(tmp_path / "joint"))
  assert joint[0].fingerprint == joint[1].fingerprint
  assert joint[0].decode(joint[0].encode(["ab AB"])) == ["ab AB"]
  config.tokenizer.joint = False
  own = builders.make_codecs(config, str(tmp_path / "own"))
  assert [t.decode(t.encode(["aAbB"])) for t in own] == [["ab"], ["AB"]]
  config.tokenizer.path = str(tmp_path / "own" / "tokenizer")
  taken = builders.make_codecs(config, str(tmp_path / "taken"))
  assert [t.fingerprint for t in taken] == [t.fingerprint for t in own]
  monkeypatch.setattr(builders.codecs, "train_tokenizer", None)
  config.tokenizer.path = ""
  again = builders.make_codecs(config, str(tmp_path / "own"))
  assert [t.fingerprint for t in again] == [t.fingerprint for t in own]


def test_a_split_without_data_names_its_key():
  config = make_config({"data.train": "", "data.test": ""})
  for split in ("train", "test"):
    assert f"data.{split} is empty" in failure(builders.make_source, config, split)


@pytest.mark.parametrize("empty", [("validation", "test"), ("test",)])
def test_splits_without_data_are_held_out_from_training(tmp_path, empty):
  write_pairs(tmp_path)
  whole, config = make_config(folder=tmp_path), make_config(folder=tmp_path)
  config.data.update({split: "" for split in empty})
  config.data.held_out = 0.1
  parts = {split: [*builders.make_source(config, split)] for split in ("train", *empty)}
  everything = [*builders.make_source(whole, "train")]
  found = map(str, itertools.chain(*parts.values()))
  assert sorted(found) == sorted(map(str, everything)) and all(parts.values())
  assert all(record not in parts["train"] for split in empty for record in parts[split])
  line = builders.describe_held_out(config)
  assert line.startswith(" and ".join(f"data.{split}" for split in empty)) and "0.1" in line
  assert builders.describe_held_out(whole) == ""
  prints = builders.data_fingerprints(config)
  assert len(set(prints.values())) == 3


def test_of_a_single_text_the_end_is_held_out(tmp_path):
  (tmp_path / "book").write_text("0123456789" * 10)
  changes = {"task.name": "text", "task.target": "t", "data.format": "files"}
  changes |= {"data.train": str(tmp_path / "book"), "data.validation": "", "data.test": ""}
  config = make_config(changes)
  parts = [
    record["t"] for split in builders.SPLITS for record in builders.make_source(config, split)
  ]
  assert list(map(len, parts)) == [90, 5, 5] and "".join(parts) == "0123456789" * 10
  assert "[90%:95%] and [95%:100%] of the text" in builders.describe_held_out(config)


def test_the_references_of_a_test_set_are_not_asked_of_held_out_records(tmp_path):
  write_pairs(tmp_path)
  changes = {"task.name": "summarize", "task.references": ("r1", "r2"), "data.test": ""}
  config = make_config(changes, tmp_path)
  (record, *_) = builders.make_source(config, "test")
  assert sorted(record) == ["de", "en"]


def test_overlap_with_what_is_held_out_is_removed(tmp_path):
  write_pairs(tmp_path)
  changes = {"data.validation": "", "data.test": "", "data.remove_overlap": True}
  config = make_config(changes, tmp_path)
  train, *others = ({r["en"] for r in builders.make_source(config, s)} for s in builders.SPLITS)
  assert not train & set.union(*others)
  config.data.remove_overlap = False  # a word may have two translations, in two splits
  assert train <= {record["en"] for record in builders.make_source(config, "train")}


def test_examples_without_a_reference_are_left_out_and_counted(tmp_path, caplog):
  write_pairs(tmp_path)
  (tmp_path / "test.en").write_text("a\nb\nc\nd\n")
  (tmp_path / "test.de").write_text("A\n\n \nD\n")
  config = make_config(folder=tmp_path)
  assert [example.target for example in builders.read_examples(config, "test")] == ["A", "D"]
  assert caplog.messages == ["test: 2 example(s) without a reference text are left out"]
  assert len(builders.read_examples(config, "test", 1)) == 1


def test_the_cache_is_where_the_user_says(monkeypatch):
  monkeypatch.setenv("TFX_JAX_CACHE", "/own")
  assert builders.cache_folder() == "/own"
  monkeypatch.delenv("TFX_JAX_CACHE")
  monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
  assert builders.cache_folder() == "/xdg/tfx_jax"


@pytest.mark.parametrize("plain", [False, True])
def test_objective_and_model_both_get_plain_gradients(plain, monkeypatch):
  monkeypatch.setattr(builders.training, "TokenObjective", lambda *args, **settings: settings)
  config = make_config({"model.plain_gradients": plain})
  settings = builders.make_objective(config, None, builders.make_parallel(config))
  assert settings["plain_gradients"] == plain
  assert builders.make_model(config, TOKENIZERS).head().plain_gradients == plain


@pytest.mark.parametrize(
  "special", [DEFAULT, SpecialTokens(eos=7, bos=None), SpecialTokens(eos=7, bos=5)]
)
def test_masked_tokens_are_those_of_the_target_codec(special, monkeypatch):
  monkeypatch.setattr(builders.training, "TokenObjective", lambda *args, **settings: settings)
  config, target = make_config(), Tokens(40, special)
  settings = builders.make_objective(config, None, builders.make_parallel(config), target)
  assert settings["mask"] == special.mask
