"""Embeddings of tokens and of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tfx_jax.layers.embed import FrameEmbed, TokenEmbed, padded_size


@pytest.mark.parametrize(
  ("size", "multiple", "padded"), [(1, 8, 8), (8, 8, 8), (9, 8, 16), (9, 1, 9)]
)
def test_padded_size(size, multiple, padded):
  assert padded_size(size, multiple) == padded


def test_vectors_are_rows_of_the_table_scaled():
  layer, tokens = TokenEmbed(10, 4, scale=2.0), jnp.asarray([[3, 9, 0], [3, 10, 500]])
  x, params = layer.init_with_output(jax.random.key(0), tokens)
  table = np.asarray(params["params"]["embedding"].value)
  np.testing.assert_allclose(x, 2 * table[[[3, 9, 0], [3, 9, 9]]], rtol=1e-6)
  np.testing.assert_array_equal(layer.apply(params, method="table"), table)


def test_vectors_begin_with_unit_length_whatever_their_size():
  for features in (64, 1024):
    params = TokenEmbed(512, features).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    table = np.asarray(params["params"]["embedding"].value)
    assert abs(np.square(table).sum(-1).mean() - 1) < 0.02


def test_bfloat16_output_of_a_float32_table():
  layer = TokenEmbed(10, 4, scale=3.0, dtype=jnp.bfloat16)
  x, params = layer.init_with_output(jax.random.key(0), jnp.asarray([[1, 2]]))
  assert x.dtype == jnp.bfloat16
  assert params["params"]["embedding"].value.dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_frames_are_projected_one_by_one_with_a_bias(dtype):
  layer = FrameEmbed(3, 4, jnp.dtype(dtype))
  frames = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), jnp.float32)
  boxed = layer.init(jax.random.key(0), frames)["params"]["projection"]
  assert (boxed["kernel"].names, boxed["bias"].names) == ((None, "embed"), ("embed",))
  params = jax.tree.map(lambda x: x + 0.5, nn.unbox(boxed))
  x = layer.apply({"params": {"projection": params}}, frames)
  assert x.dtype == dtype
  tolerance = {"float32": 1e-5, "bfloat16": 0.05}[dtype]
  wanted = frames @ params["kernel"] + params["bias"][None, None]
  np.testing.assert_allclose(x.astype(jnp.float32), wanted, atol=tolerance)
