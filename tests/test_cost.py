import jax
import numpy as np
import pytest
from flax import linen as nn
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.cli.plan import compile_step
from tfx_jax.cost import activation_bytes, cost, count_parameters, flops
from tfx_jax.models.parameters import EXAMPLE
from tfx_jax.training.state import init_params

ONE = {"slices": 1, "data": 1, "fsdp": 1, "sequence": 1, "tensor": 1}
SPLIT = {"tokenizer.joint": False, "model.share_embeddings": False}


def size_of(changes=None, mesh=ONE):
  config = make_config(changes or {})
  validate(config)
  return builders.make_size(config, builders.planned_codecs(config), mesh)


PICTURES = {
  "task.name": "draw",
  "task.metrics": (),
  "image.size": (4, 6),
  "model.share_embeddings": False,
}


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"model.encoder_layers": 3, "model.decoder_layers": 2, "tokenizer.kind": "bytes"},
    {"model.norm": "rms_norm", "model.norm_placement": "post", "model.embedding_norm": True},
    {"model.norm_placement": "sandwich", "model.use_bias": False, "model.qkv_bias": True},
    {"model.num_kv_heads": 1, "model.head_dim": 12, "model.gated": True},
    {"model.position": "learned", "model.tie_output": False, "model.output_bias": True},
    {"model.position": "bucket", "model.copy_head": True},
    {"model.architecture": "decoder_only", "model.use_bias": False, "model.position": "rotary"},
    {"model.architecture": "decoder_only", "model.position": "bucket", "model.gated": True},
    SPLIT,
    *(
      PICTURES | {"model.architecture": architecture, "model.position": position}
      for architecture in ("encoder_decoder", "decoder_only")
      for position in ("learned_2d", "rotary_2d")
    ),
  ],
  ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_the_count_of_parameters_is_exact(changes):
  config = make_config(changes)
  model = builders.make_model(config, builders.planned_codecs(config))
  shapes = nn.unbox(jax.eval_shape(lambda: init_params(model, 0, EXAMPLE)))
  assert count_parameters(size_of(changes)) == sum(
    np.prod(x.shape) for x in jax.tree.leaves(shapes)
  )


LARGER = {
  "model.features": 64,
  "model.feed_forward": 256,
  "model.num_heads": 4,
  "model.encoder_layers": 2,
  "model.decoder_layers": 2,
  "model.dropout": 0.0,
  "data.batch_size": 64,
  "tokenizer.vocab_size": 400,
  "train.loss_chunks": 1,
}


@pytest.mark.parametrize(
  "changes",
  [{}, {"model.architecture": "decoder_only", "model.gated": True, "model.remat": "full"}],
)
def test_flops_and_bytes_are_near_those_of_the_compiler(changes):
  changes = LARGER | changes
  parallel = builders.make_parallel(make_config(changes))
  compiled, size = compile_step(make_config(changes)), size_of(changes, parallel.sizes)
  found = cost(size, parallel.sizes)
  assert found.parameters == compiled["parameters"]
  assert found.flops == pytest.approx(8 * compiled["flops"], rel=0.15)
  state = sum(compiled["state"].values())
  assert state == 3 * compiled["gradients"] + 8  # parameters, two moments, and counts of steps
  batch = compiled["argument_bytes"] - state
  assert 0 < batch < 64 * 8 * (size.target_length + size.source_length) * 4
  temporary = found.activation_bytes + compiled["gradients"]
  assert temporary == pytest.approx(compiled["temporary_bytes"], rel=0.6)


def test_settings_that_save_memory_reduce_the_estimate():
  bytes_of = {
    name: activation_bytes(size_of(LARGER | changes), ONE)
    for name, changes in {
      "plain": {},
      "dots": {"model.remat": "dots"},
      "full": {"model.remat": "full"},
      "pieces": {"train.loss_chunks": 8},
      "parts": {"train.microbatches": 4},
      "rows": {"model.attention_rows": 8},
    }.items()
  }
  assert bytes_of["full"] < bytes_of["dots"] < bytes_of["plain"]
  assert bytes_of["parts"] == pytest.approx(bytes_of["plain"] / 4, rel=1e-3)
  assert bytes_of["pieces"] < bytes_of["plain"] and bytes_of["rows"] < bytes_of["plain"]
  assert flops(size_of(LARGER | {"model.remat": "full"})) > flops(size_of(LARGER))


def test_a_device_holds_its_share():
  size = size_of(LARGER)
  whole = activation_bytes(size, ONE)
  for axis in ("slices", "data", "fsdp", "sequence"):
    assert activation_bytes(size, ONE | {axis: 4}) == pytest.approx(whole / 4, rel=1e-3)
  assert whole / 4 < activation_bytes(size, ONE | {"tensor": 4}) < whole / 1.5
