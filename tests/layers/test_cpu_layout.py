"""The memory layout for CPU decoding: other shapes, the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfx_jax.layers import cpu_layout
from tfx_jax.layers.cpu_layout import HEAD_TABLE, STACKED, Transposed, prepare, unstack

LAYERS, WIDE, D, V = 3, 512, 4, 6
KERNELS = {"wide": (WIDE, 3), "narrow": (WIDE - 1, 3), "heads": (WIDE, 2, 3)}


@pytest.fixture(params=[True, False], ids=["inputs_first", "outputs_first"])
def inputs_first(request, monkeypatch):
  """What the processor is taken for."""
  monkeypatch.setattr(cpu_layout, "reads_inputs_first", lambda: request.param)
  return request.param


def model(tied=True, embed="token_embed", bias=False):
  """Parameters as a model has them: a name of the embedding, two stacks and a head."""
  rng = np.random.default_rng(0)
  made = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731

  def stack():
    kernels = {name: {"kernel": made(LAYERS, *shape)} for name, shape in KERNELS.items()}
    return {"layers": {STACKED: kernels | {"norm": {"scale": made(LAYERS, WIDE)}}}}

  params = {"encoder_stack": stack(), "decoder_stack": stack() | {"norm": {"scale": made(D)}}}
  params[embed] = {"embedding": made(V, D)}
  head = ({"bias": made(V)} if bias else {}) | ({} if tied else {"kernel": made(V, D)})
  return params | ({"output": head} if head else {})


def layers(params, stack="decoder_stack"):
  return params[stack]["layers"][STACKED]


def test_layers_are_apart_and_only_wide_kernels_of_decoders_transposed(inputs_first):
  prepared = prepare(model())
  for stack in ("encoder_stack", "decoder_stack"):
    assert len(layers(prepared, stack)) == LAYERS
    for layer in layers(prepared, stack):
      transposed = {name for name in KERNELS if isinstance(layer[name]["kernel"], Transposed)}
      expected = {"wide"} if stack == "decoder_stack" and not inputs_first else set()
      assert transposed == expected
  if not inputs_first:
    assert layers(prepared)[1]["wide"]["kernel"].values.shape == (3, WIDE)


def test_unstacking_prepared_layers_gives_the_layers(inputs_first):
  plain, prepared = model(), prepare(model())
  for index, layer in enumerate(unstack(layers(prepared))):
    expected = jax.tree.map(lambda x, index=index: x[index], layers(plain))
    jax.tree.map(np.testing.assert_array_equal, layer, expected)
  norms = (params["decoder_stack"]["norm"]["scale"] for params in (prepared, plain))
  np.testing.assert_array_equal(*norms)


@pytest.mark.parametrize("embed", ["token_embed", "target_embed"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_the_head_gets_its_table_transposed_and_keeps_its_bias(tied, bias, embed, inputs_first):
  plain = model(tied, embed, bias)
  prepared = prepare(plain)
  if not inputs_first:
    assert prepared.get("output") == plain.get("output")
    return
  table = plain[embed]["embedding"] if tied else plain["output"]["kernel"]
  expected = {HEAD_TABLE: table.T} | ({"bias": plain["output"]["bias"]} if bias else {})
  assert prepared["output"].keys() == expected.keys()
  jax.tree.map(np.testing.assert_array_equal, prepared["output"], expected)
  np.testing.assert_array_equal(prepared[embed]["embedding"], plain[embed]["embedding"])


def test_a_head_of_frames_stays_as_it_is(inputs_first):
  frames = {"target_embed": {"projection": {"kernel": jnp.ones((2, D))}}}
  frames |= {"output": {"frame": {"kernel": jnp.ones((D, 2))}}}
  jax.tree.map(np.testing.assert_array_equal, prepare(frames), frames)


def test_each_model_of_a_tree_of_models_is_prepared(inputs_first):
  one, other = model(), model(tied=False)
  expected = prepare(one), prepare(other)
  trees = {"members_0": one, "members_1": other}, [one, other], (one, other)
  for tree in trees:
    prepared = prepare(tree)
    assert type(prepared) is type(tree)
    found = prepared.values() if isinstance(prepared, dict) else prepared
    jax.tree.map(np.testing.assert_array_equal, tuple(found), expected)


def test_other_devices_are_given_what_there_is(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  params = model()
  assert prepare(params) is params


@pytest.mark.parametrize(
  ("flags", "expected"),
  [("flags : sse2 avx2 avx512f avx512dq", True), ("flags : sse2 avx2", False), (None, False)],
)
def test_the_instruction_sets_say_which_layout_is_faster(flags, expected, tmp_path, monkeypatch):
  file = tmp_path / "cpuinfo"
  if flags is not None:
    file.write_text(flags)
  monkeypatch.setattr(cpu_layout, "_CPU_INFO", str(file))
  assert cpu_layout.reads_inputs_first.__wrapped__() == expected
