"""What is said of values that make no sense."""

import sys
import types

import pytest
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.config.defaults import STRUCTURED
from tfx_jax.config.override import override
from tfx_jax.errors import UserError


def failure(function, *args):
  with pytest.raises(UserError) as info:
    function(*args)
  assert "\n" not in str(info.value)
  return str(info.value)


def validate_all(config):
  validate(config)
  builders.make_parallel(config)


@pytest.mark.parametrize(
  "changes",
  [
    {"model.architecture": "decoder"},
    {"model.activation": "rleu"},
    {"model.norm": "layernorm"},
    {"model.norm_placement": "both"},
    {"model.position": "rotery"},
    {"model.remat": "some"},
    {"model.dtype": "float16"},
    {"model.encoder_layers": 0},
    {"model.decoder_layers": 0},
    {"model.features": 0},
    {"model.num_heads": 0},
    {"model.feed_forward": 0},
    {"model.vocab_multiple": 0},
    {"data.batch_size": 0},
    {"data.source_length": 0},
    {"data.target_length": 0},
    {"train.num_steps": 0},
    {"train.log_every": 0},
    {"train.microbatches": 0},
    {"train.keep_checkpoints": 0},
    {"model.dropout": 1.0},
    {"model.dropout": -0.1},
    {"model.attention_dropout": 1.5},
    {"model.activation_dropout": 1.0},
    {"train.label_smoothing": 1.0},
    {"train.ema_decay": 1.0},
    {"train.r_drop": -1.0},
    {"train.token_dropout": 1.0},
    {"data.source_sampling": 1.0},
    {"evaluate.checkpoint": "ema"},
    {"evaluate.average_last": 3, "evaluate.checkpoint": "average"},
    {"seed": -1},
    {"train.z_loss": 0.1, "model.copy_head": True},
    {"model.num_kv_heads": -2},
    {"model.head_dim": -4},
    {"model.norm_epsilon": -1e-6},
    {"optimizer.learning_rate": -1.0},
    {"optimizer.warmup_steps": -1},
    {"optimizer.clip_norm": -1.0},
    {"optimizer.weight_decay": -0.1},
    {"train.z_loss": -0.1},
    {"train.loss_chunks": -2},
    {"train.eval_every": -1},
    {"train.decode_every": -1},
    {"train.decode_examples": -1},
    {"train.checkpoint_every": -1},
    {"train.patience": -1},
    {"tokenizer.vocab_size": -1},
    {"tokenizer.max_sentences": -1},
    {"evaluate.num_samples": -1},
    {"evaluate.bootstrap_samples": 0},
    {"generate.min_length": -1},
    {"generate.max_length_ratio": -1.0},
    {"model.num_heads": 3},
    {"model.num_kv_heads": 3, "model.num_heads": 4},
    {"model.head_dim": 5, "model.position": "rotary"},
    {"model.features": 5, "model.num_heads": 1},
    {"model.num_buckets": 2, "model.position": "bucket"},
    {"model.max_distance": 16, "model.position": "bucket"},
    {"model.rotary_base": 1.0, "model.position": "rotary"},
    {"model.rotary_scaling": ("linear",), "model.position": "rotary"},
    {"model.rotary_scaling": ("yarn", 2.0), "model.position": "rotary"},
    {"model.rotary_scaling": ("linear", "two"), "model.position": "rotary"},
    {"model.windows": (4.5,)},
    {"model.windows": (1, 2, 3)},
    {"data.source_length": 600, "model.position": "learned"},
    {"generate.max_length": 600, "model.position": "learned"},
    {"train.microbatches": 3},
    {"model.attention_rows": 3},
    {"train.loss_chunks": 5},
    {"tokenizer.joint": False},
    {"model.copy_head": True, "tokenizer.joint": False, "model.share_embeddings": False},
    {"task.name": "translat"},
    {"task.name": "os.path:Translate"},
    {"task.name": "no_such_module:Translate"},
    {"task.name": ":Translate"},
    {"task.metrics": (1,)},
    {"train.best_metric": "blue", "train.decode_every": 6},
    {"train.best_metric": "exact_match", "train.decode_every": 6},
    {"train.best_metric": "bleu", "train.decode_every": 0},
    {"evaluate.split": "dev"},
    {"evaluate.checkpoint": "last"},
    {"generate.beam_size": 0},
    {"generate.length_penalty_form": "gmnt"},
    {"generate.search": "greedy"},
    {"generate.num_return": 40, "generate.search": "mbr"},
    {"generate.num_samples": 0},
    {"generate.temperature": 0.7},
    {"generate.temperature": 0.0, "generate.search": "sample"},
    {"generate.top_k": 5},
    {"generate.top_p": 1.1, "generate.search": "sample"},
    {"generate.seed": 1},
    {"generate.seed": 2**32, "generate.search": "sample"},
    {"generate.no_repeat_ngram_size": -1},
    {"generate.repetition_penalty": 0.0},
    {"generate.forbidden": (5,)},
    {"generate.max_length": 0},
    {"generate.coverage_penalty": -0.1},
    {"generate.coverage_penalty": float("nan")},
    {"generate.alignment_layer": 1},
    {"generate.alignment_layer": -2},
    {"generate.max_source_length": 0},
    {"generate.batch_size": 0},
    {"optimizer.name": "adamm"},
    {"optimizer.name": "chain"},
    {"optimizer.schedule": "cosin"},
    {"optimizer.momentum": 0.9},
    {"optimizer.state_dtype": "float16"},
    {"optimizer.b1": 0.8, "optimizer.name": "sgd"},
    {"mesh.data": 3},
    {"mesh.data": 0},
    {"mesh.fsdp": -1},
    {"mesh.tensor": 4},
    {"mesh.slices": 3},
    {"mesh.sequence": 4, "data.source_length": 18},
    {"mesh.sequence": 4, "model.architecture": "decoder_only", "data.source_length": 18},
    {"train.loss_chunks": 12, "mesh.sequence": 4},
    {"model.attention_rows": 4},
    {"data.batch_size": 12},
    {"train.microbatches": 2},
    {"model.features": 18, "mesh.fsdp": 4},
  ],
  ids=lambda changes: "-".join(f"{key}={value}" for key, value in changes.items()),
)
def test_a_value_that_makes_no_sense_is_one_line_that_names_the_key(changes):
  assert next(iter(changes)) in failure(validate_all, make_config(changes))


def test_a_metric_that_makes_no_sense_is_one_line_that_names_it():
  message = failure(validate, make_config({"task.metrics": ("blue",)}))
  assert message.startswith("task.metrics='blue' is unknown, did you mean 'bleu'?")
  message = failure(validate, make_config({"task.bleu_tokenize": "14a"}))
  assert message.startswith("unknown BLEU tokenizer '14a', did you mean '13a'?")


def test_keys_and_types_are_those_of_the_base():
  for change, told in (
    (lambda c: setattr(c.train, "num_step", 5), "train.num_step', did you mean 'num_steps'?"),
    (lambda c: setattr(c, "trian", 5), "'trian', did you mean 'train'?"),
    (lambda c: delattr(c.train, "num_steps"), "'train.num_steps' is missing"),
    (lambda c: delattr(c, "train"), "'train' is missing"),
  ):
    config = make_config()
    with config.unlocked():
      change(config)
    assert told in failure(validate, config)
  for key, value, kind in (
    ("num_steps", 1.5, "int"),
    ("num_steps", True, "int"),
    ("label_smoothing", "0.1", "float"),
    ("best_metric", 5, "str"),
  ):
    config = make_config()
    with config.ignore_type():
      config.train[key] = value
    message = failure(validate, config)
    assert message == f"train.{key}={value!r} is {type(value).__name__}, not {kind}"


def test_a_tuple_of_other_things_than_strings_is_told_what_it_should_be():
  for value in ((["a"],), (5,), "bleu"):
    config = make_config()
    with config.ignore_type():
      config.task.metrics = value
    assert failure(validate, config) == f"task.metrics={value!r}: use a tuple of strings"


def test_usual_and_unusual_configurations_are_valid():
  for changes in (
    {},
    {"generate.length_penalty": -1.0},
    {"train.best_metric": "bleu", "train.decode_every": 6},
    {"train.best_metric": "figure", "train.decode_every": 6, "task.metrics": ("own:figures",)},
    {"evaluate.checkpoint": "latest"},
    {"evaluate.checkpoint": "12"},
    {"optimizer.name": "sgd", "optimizer.momentum": 0.9},
    {"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2},
    {"mesh.sequence": 4, "mesh.slices": 2, "train.loss_chunks": 6},
  ):
    module = types.ModuleType("own")
    module.figures = lambda predictions, references: {"figure": 1.0}
    with pytest.MonkeyPatch.context() as patch:
      patch.setitem(sys.modules, "own", module)
      validate_all(make_config(changes))


# Texts that are no value of most structured keys.
ODD = ("5", "-1", "a", "('a',)", "('a', 'b')", "(('a',),)", "(None,)", "(True,)", "{'a': 1}",
       "1e999",
       "{'eps': {'x': 1}}", "(('a', 5),)", "('linear',)", "(('a', (3, 1)),)", "('(',)",
       "(('a', {'scale': 'x'}),)", "(2**40,)", "(b'a',)")  # fmt: skip


@pytest.mark.parametrize("key", STRUCTURED)
def test_a_structured_value_is_right_or_an_error_of_one_line_that_names_its_key(key):
  refused = 0
  for text in ODD:
    config = make_config({"lora.rank": 2, "model.position": "rotary"})
    try:
      override(config, key, text)
      validate(config)
    except UserError as error:
      assert key in str(error) and "\n" not in str(error)
      refused += 1
  assert refused >= len(ODD) // 2


def test_only_texts_have_random_segmentations():
  draw = {"task.name": "draw", "task.metrics": ("exact_match",), "model.share_embeddings": False}
  draw |= {"image.size": (4, 4), "data.source_sampling": 0.2}
  validate(make_config(draw))
  message = failure(validate, make_config(draw | {"data.target_sampling": 0.2}))
  assert message == "task.name='draw' needs data.target_sampling=0.0: it has pictures"
