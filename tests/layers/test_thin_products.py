"""How weights lie for products of a few rows."""

import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.layers import thin_products
from tfx_jax.layers.thin_products import Turned, inputs_first, turned, turned_back


def layer():
  rng = np.random.default_rng(0)
  shapes = {"wide": (512, 3), "narrow": (511, 3), "heads": (512, 2, 3)}
  kernels = {name: {"kernel": rng.normal(size=shape)} for name, shape in shapes.items()}
  return kernels | {"table": {"embedding": rng.normal(size=(512, 3))}}


def test_wide_kernels_alone_are_turned_and_back(monkeypatch):
  monkeypatch.setattr(thin_products, "inputs_first", lambda: False)
  found = turned(layer())
  kernel = found["wide"].pop("kernel")
  assert isinstance(kernel, Turned) and kernel.values.shape == (3, 512)
  for name in ("narrow", "heads", "table"):
    assert all(isinstance(x, np.ndarray) for x in found[name].values())
  whole = turned_back(found | {"wide": {"kernel": Turned(jnp.asarray(kernel.values))}})
  np.testing.assert_allclose(whole["wide"]["kernel"], layer()["wide"]["kernel"], rtol=1e-6)


def test_nothing_is_turned_where_inputs_come_first(monkeypatch):
  monkeypatch.setattr(thin_products, "inputs_first", lambda: True)
  assert not any(isinstance(x["kernel"], Turned) for x in turned(layer()).values() if "kernel" in x)


@pytest.mark.parametrize(
  ("told", "expected"),
  [("flags : sse2 avx2 avx512f avx512dq", True), ("flags : sse2 avx2", False), (None, False)],
)
def test_the_processor_tells_which_way_is_faster(told, expected, tmp_path, monkeypatch):
  file = tmp_path / "cpuinfo"
  if told is not None:
    file.write_text(told)
  monkeypatch.setattr(thin_products, "_PROCESSORS", str(file))
  assert inputs_first.__wrapped__() == expected
