"""Logical names: what a parameter carries, what a constraint lowers to, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType

from tfx_jax.layers import axes
from tfx_jax.parallel import Parallel


def test_constraints_reach_the_program_and_unknown_names_raise():
  x = jnp.ones((8, 3, 4))
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  rules = (("batch", "data"), ("length", None), ("act_embed", None))

  def lowered(*names):
    return jax.jit(lambda x: axes.constrain(x, *names)).lower(x).as_text()

  with jax.set_mesh(mesh), nn.logical_axis_rules(rules):
    assert "sharding_constraint" in lowered(axes.BATCH, axes.LENGTH, axes.ACT_EMBED)
    with pytest.raises(ValueError, match="act_heads"):
      lowered(axes.BATCH, axes.LENGTH, axes.ACT_HEADS)


def test_outside_a_mesh_a_constraint_does_nothing():
  x = jnp.ones((2, 3))
  assert axes.constrain(x, axes.BATCH, axes.ACT_EMBED) is x


def test_parameters_are_float32_and_carry_names():
  class Layer(nn.Module):
    @nn.compact
    def __call__(self):
      return axes.param(self, "kernel", nn.initializers.ones, (2, 3), (axes.EMBED, axes.MLP))

  value, params = Layer().init_with_output(jax.random.key(0))
  assert params["params"]["kernel"].names == ("embed", "mlp")
  assert value.dtype == jnp.float32
  np.testing.assert_array_equal(value, np.ones((2, 3)))


def test_an_axis_is_sharded_where_its_mesh_axis_has_several_devices():
  sharded = lambda: [axes.is_sharded(name) for name in (axes.BATCH, axes.LENGTH, axes.MLP)]  # noqa: E731
  assert sharded() == [False] * 3
  for sequence, wanted in ((1, [True, False, False]), (4, [True, True, False])):
    parallel = Parallel(sequence=sequence)
    found = []
    parallel.jit(lambda x, found=found: found.extend(sharded()) or x)(jnp.ones(8))
    assert found == wanted
