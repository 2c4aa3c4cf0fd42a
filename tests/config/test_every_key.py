"""No key of the configuration goes unread: another legal value makes something else."""

import collections
import functools
import inspect
import re
import types

import jax
import numpy as np
import pytest
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.cli import evaluate, generate, train
from tfx_jax.codecs.image.patches import PatchCodec
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.config import base
from tfx_jax.errors import UserError
from tfx_jax.run import loading, run

TOKENIZERS = (CharacterTokenizer("abcdef "), CharacterTokenizer("ABCDEF !?"))

# Values that differ from the tiny run's, where `other` would make no legal one.
OTHER = {
  "task.name": "os.path:Task",
  "task.references": ("de", "fr"),
  "task.metrics": ("chrf",),
  "task.bleu_tokenize": "char",
  "task.rouge_references": "mean",
  "task.answers": "last",
  "data.columns": ("de", "en"),
  "data.long_sources": "cut_end",
  "image.size": (8, 8),
  "image.channels": 1,
  "image.fit": "crop",
  "image.patch": (1, 1),
  "image.path": "codes",
  "tokenizer.kind": "bpe",
  "tokenizer.symbols": ("<1>",),
  "tokenizer.joint": False,
  "model.architecture": "decoder_only",
  "model.num_kv_heads": 1,
  "model.head_dim": 16,
  "model.activation": "gelu",
  "model.norm": "rms_norm",
  "model.norm_placement": "post",
  "model.position": "rotary",
  "model.vocab_multiple": 32,
  "model.dropout": 0.2,
  "model.rotary_scaling": ("linear", 2.0),
  "model.levels": (4, 4),
  "image.block": (2, 1),
  "model.windows": (3,),
  "model.remat": "full",
  "model.attention_rows": 8,
  "model.dtype": "bfloat16",
  "optimizer.name": "lion",
  "optimizer.schedule": "constant",
  "optimizer.state_dtype": "bfloat16",
  "optimizer.settings": {"eps": 0.5},
  "optimizer.groups": (("kernel", {"scale": 0.5}),),
  "lora.targets": ("mlp",),
  "train.best_metric": "perplexity",
  "generate.length_penalty_form": "power",
  "generate.num_return": 2,
  "generate.alignment_layer": 0,
  "generate.search": "sample",
  "generate.forbidden": ("<unk>",),
  "generate.repetition_penalty": 1.5,
  "generate.beam_groups": 2,
  "generate.forbidden_phrases": ("ab",),
  "generate.stop": ("ab",),
  "mesh.data": 3,
  "mesh.fsdp": 2,
  "mesh.tensor": 2,
  "mesh.sequence": 2,
  "mesh.slices": 2,
}
PICTURES = {"task.name": "draw", "task.metrics": ("exact_match",), "model.share_embeddings": False}
# Under which other settings a key means something.
WHERE = {
  "image.size": PICTURES,
  "image.patch": PICTURES,
  "image.codes": PICTURES,
  "image.channels": PICTURES,
  "image.fit": PICTURES,
  "image.path": PICTURES,
  "task.references": {"task.name": "summarize"},
  "task.answers": {"task.name": "dialogue"},
  "task.history_turns": {"task.name": "dialogue"},
  "task.detokenize": {"task.name": "dialogue"},
  "data.columns": {"data.format": "tsv"},
  "data.held_out": {"data.test": ""},
  "data.stream": {"model.architecture": "decoder_only", "task.name": "text"},
  "tokenizer.joint": {"model.share_embeddings": False},
  "model.max_positions": {"model.position": "learned"},
  "model.rotary_base": {"model.position": "rotary"},
  "model.rotary_scaling": {"model.position": "rotary"},
  "model.levels": {"model.architecture": "autoencoder"},
  "model.group_features": {"model.group_size": 4, "model.tie_output": False},
  "image.block": PICTURES,
  "model.num_buckets": {"model.position": "bucket"},
  "model.max_distance": {"model.position": "bucket"},
  "optimizer.momentum": {"optimizer.name": "sgd"},
  "optimizer.final_share": {"optimizer.schedule": "cosine"},
  "generate.temperature": {"generate.search": "sample"},
  "generate.top_k": {"generate.search": "sample"},
  "generate.top_p": {"generate.search": "sample"},
  "generate.min_p": {"generate.search": "sample"},
  "generate.typical_p": {"generate.search": "sample"},
  "generate.seed": {"generate.search": "sample"},
  "generate.choice_temperature": {"generate.search": "sample"},
  "generate.diversity_penalty": {"generate.beam_groups": 2},
  "generate.stop": {"generate.beam_size": 1},
  "generate.stream": {"generate.beam_size": 1},
  "generate.num_samples": {"generate.search": "mbr"},
  "lora.alpha": {"lora.rank": 4},
  "lora.targets": {"lora.rank": 4},
}
# What the commands themselves read.
READ_BY_COMMANDS = (
  "train.init_from",
  "train.decode_examples",
  "train.keep_checkpoints",
  "evaluate.checkpoint",
  "evaluate.average_last",
  "evaluate.weights",
  "evaluate.split",
  "evaluate.num_samples",
  "evaluate.bootstrap_samples",
  "generate.scores",
  "generate.alignments",
  "generate.ensemble",
  "data.origin",
)


def keys(config):
  for name, value in config.items():
    yield from ([f"{name}.{key}" for key in value] if hasattr(value, "items") else [name])


def other(key, value):
  """Another legal value."""
  if key in OTHER:
    return OTHER[key]
  match value:
    case bool():
      return not value
    case int():
      return 2 * value + 16
    case float():
      return value / 2 + 0.01
  return value + "x"


def portrait(config, monkeypatch):
  """All that is built from a configuration, or is told to who builds it, as text."""
  told = []

  def spy(name, result=None, keep=lambda *args, **settings: (args, settings)):
    modules = builders.training, builders.codecs, builders.data
    module = next(module for module in modules if hasattr(module, name))

    @functools.wraps(getattr(module, name))
    def spied(*args, **settings):
      told.append((name, keep(*args, **settings)))
      return result

    monkeypatch.setattr(module, name, spied)

  class Pairs:
    fingerprint = "f"

    def __iter__(self):
      return iter(())

  spy("open_source", Pairs())
  spy("train_tokenizer", TOKENIZERS[0], lambda texts, **settings: settings)
  spy("load_tokenizer", TOKENIZERS[0])
  patches = PatchCodec(np.zeros((1, 2, 2, 3), np.uint8), (4, 4))
  patches.save = told.append
  spy("train_patches", patches, lambda pictures, **settings: settings)
  spy("read_codec", patches)
  spy("trained_codes", patches)
  corpus = types.SimpleNamespace(report=collections.defaultdict(int))
  spy("prepare", corpus, lambda examples, *args, **settings: (args[0], settings))
  spy("SampledTokenizer", TOKENIZERS[0], lambda tokenizer, *args: args)
  spy("Loader", None, lambda corpora, *args: args)
  spy("make_train_step", None, lambda objective, optimizer, schedule, *args, **more: (args, more))
  spy("TokenObjective")
  monkeypatch.setattr(CharacterTokenizer, "save", lambda self, folder: told.append(folder))
  for split in builders.SPLITS:
    builders.make_corpora(config, split, TOKENIZERS)(0)
  parallel = builders.make_parallel(config)
  builders.make_loader(config, None, parallel)
  told.append(
    [side.element.special_tokens for side in builders.make_codecs(config, "no such folder")]
  )
  builders.make_step(config, None, None, None, parallel)
  optimizer, schedule = builders.make_optimization(config)
  told.append([float(schedule(step)) for step in (0, 10_000, 90_000)])
  told.append(jax.tree.map(lambda x: x.tolist(), updates(optimizer)))
  told += [builders.make_task(config), builders.make_intervals(config)]
  told += [builders.make_generate_settings(config), parallel.sizes]
  told.append(builders.make_model(config, TOKENIZERS))
  if config.lora.rank:
    told.append(vars(builders.make_adapted(config, None)))
  return re.sub(r" at 0x\w+", "", repr(told))


def updates(optimizer):
  """Two of them, the first from a gradient that is clipped."""
  params = {side: {"kernel": np.full(2, 0.5, np.float32)} for side in ("base", "adapters")}
  state, found = optimizer.init(params), []
  for size in (1e2, 1e-8):
    gradient = jax.tree.map(lambda x, size=size: np.full_like(x, size), params)
    update, state = optimizer.update(gradient, state, params)
    found.append(update)
  return found


@pytest.fixture(scope="module")
def usual():
  with pytest.MonkeyPatch.context() as patch:
    return portrait(make_config(), patch)


def test_the_same_configuration_makes_the_same(usual, monkeypatch):
  assert portrait(make_config(), monkeypatch) == usual


@pytest.mark.parametrize("key", list(keys(base())))
def test_every_key_is_read(key, usual, monkeypatch):
  if key in READ_BY_COMMANDS:
    readers = (train, evaluate, generate, run, loading, builders.data)
    assert any(f"config.{key}" in inspect.getsource(reader) for reader in readers)
    return
  where = WHERE.get(key, {})
  value = functools.reduce(lambda place, name: place[name], key.split("."), make_config())
  changed = make_config(where | {key: other(key, value)})
  if key in ("task.name", "mesh.data"):  # there is one legal value here
    with pytest.raises(UserError, match=key):
      validate(changed)
      builders.make_parallel(changed)
  else:
    before = portrait(make_config(where), monkeypatch) if where else usual
    assert portrait(changed, monkeypatch) != before
