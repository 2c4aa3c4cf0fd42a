"""Low-rank adaptation: what is added, what is fixed, and a run from beginning to end."""

import os

import jax
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file
from support.small_model import small_batch, small_model
from support.tiny_run import write_experiment

import tfx_jax
from tfx_jax.errors import UserError
from tfx_jax.main import main
from tfx_jax.models.lora import Adapted, adapters_only
from tfx_jax.parallel import Parallel
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.state import plan_state
from tfx_jax.training.step import make_train_step

LAYERS, RANK, ALPHA = 3, 2, 5.0
TARGETS = ("self_attention/(query|out)", ("encoder.*mlp/up", (1, 2)))
BATCH = small_batch(4)


def adapted(targets=TARGETS):
  return Adapted(small_model(layers=LAYERS), RANK, ALPHA, targets)


@pytest.fixture(scope="module")
def state():
  """Trained for two steps, and what it began with."""
  model, optimizer = adapted(), adapters_only(optax.adam(0.01))
  make, _ = plan_state(model, optimizer, 0, BATCH, Parallel())
  schedule = lambda step: 0.01  # noqa: E731
  step = jax.jit(make_train_step(TokenObjective(model), optimizer, schedule, 0))
  begun = make()
  first, before = step(begun, BATCH)
  second, after = step(first, BATCH)
  assert after["loss"].compute() < before["loss"].compute()
  return begun, second


def test_at_first_it_is_the_model(state):
  begun, _ = state
  model = adapted()
  ours = model.bind({"params": begun.params})(BATCH)
  theirs = model.model.bind({"params": begun.params["base"]})(BATCH)
  np.testing.assert_array_equal(ours, theirs)


def test_all_but_the_adapters_stays_bit_for_bit_and_has_no_state(state):
  begun, trained = state
  jax.tree.map(np.testing.assert_array_equal, begun.params["base"], trained.params["base"])
  for old, new in zip(
    *(jax.tree.leaves(s.params["adapters"]) for s in (begun, trained)), strict=True
  ):
    assert (np.asarray(old) != new).any()
  sizes = {x.shape for x in jax.tree.leaves(begun.opt_state) if x.ndim}
  assert sizes == {x.shape for x in jax.tree.leaves(begun.params["adapters"])}


def test_kernels_are_those_of_the_formula(state):
  params = jax.device_get(state[1].params)
  merged = jax.device_get(adapted().merge(state[1].params))
  base, scale = params["base"], ALPHA / RANK
  for stack in ("encoder_stack", "decoder_stack"):
    layers = params["adapters"][stack]["layers"]["stacked"]["self_attention"]
    old, new = (p[stack]["layers"]["stacked"]["self_attention"] for p in (base, merged))
    a, b = layers["query"]["a"], layers["query"]["b"]
    for layer in range(LAYERS):
      product = np.tensordot(a[layer], b[layer], 1)
      expected = old["query"]["kernel"][layer] + scale * product
      np.testing.assert_allclose(new["query"]["kernel"][layer], expected, atol=1e-6)
      # Heads are inputs here.
      product = np.tensordot(layers["out"]["a"][layer], layers["out"]["b"][layer], 1)
      expected = old["out"]["kernel"][layer] + scale * product
      np.testing.assert_allclose(new["out"]["kernel"][layer], expected, atol=1e-6)
    np.testing.assert_array_equal(new["key"]["kernel"], old["key"]["kernel"])
  up = params["adapters"]["encoder_stack"]["layers"]["stacked"]["mlp"]["up"]
  assert up["a"].shape[0] == up["b"].shape[0] == 2
  old, new = (
    p["encoder_stack"]["layers"]["stacked"]["mlp"]["up"]["kernel"] for p in (base, merged)
  )
  np.testing.assert_array_equal(new[0], old[0])
  for place in (0, 1):
    expected = old[1 + place] + scale * up["a"][place] @ up["b"][place]
    np.testing.assert_allclose(new[1 + place], expected, atol=1e-6)
  assert "mlp" not in params["adapters"]["decoder_stack"]["layers"]["stacked"]


@pytest.mark.parametrize(
  ("target", "message"),
  [
    ("nothing", "no kernel's path holds one of the patterns"),
    ("embedding", "no kernel's path"),
    (("mlp", (1, 3)), "has no layer 3, only 0-2"),
    (("mlp", (2, 1)), r"\('mlp', \(2, 1\)\) is neither 'REGEX' nor \('REGEX', \(FIRST, LAST\)\)"),
    (("mlp", 2), r"\('mlp', 2\) is neither"),
    (3, "3 is neither"),
    ("mlp(", "'mlp\\(' is no regular expression"),
  ],
)
def test_what_cannot_be_a_target_is_told(target, message):
  with pytest.raises(UserError, match=message):
    jax.eval_shape(lambda: adapted((target,)).init(jax.random.key(0), BATCH))


def test_a_run_learns_its_adapters_alone_and_is_used_as_any_other(tmp_path, capsys):
  experiment, workdir = write_experiment(tmp_path), str(tmp_path / "run")
  command = [experiment, f"--workdir={workdir}", "--config.lora.rank=2"]
  command += ["--config.train.num_steps=6", "--config.evaluate.checkpoint=latest"]
  assert main(command) == 0
  assert "of them learnt" in capsys.readouterr().err
  run = tfx_jax.load(workdir)
  assert run.adapters is not None and "base" not in run.params
  (best,) = run.generate(["ab"])[0]
  assert run.score(["ab"], [best.tokens])[0] == pytest.approx(best.log_prob, rel=1e-4)
  run.export(str(tmp_path / "alone"), format="adapters")
  tensors = load_file(os.path.join(tmp_path, "alone", "model.safetensors"))
  assert {name.rpartition("/")[2] for name in tensors} == {"a", "b"}
  # Begun from another run, whose parameters are then fixed.
  tuned = str(tmp_path / "tuned")
  command = [*command[:1], f"--workdir={tuned}", *command[2:]]
  assert main([*command, f"--config.train.init_from={workdir}"]) == 0
  again = tfx_jax.load(tuned)
  np.testing.assert_array_equal(
    again.params["target_embed"]["embedding"], run.params["target_embed"]["embedding"]
  )
  query = [
    r.params["decoder_stack"]["layers"]["stacked"]["self_attention"]["query"]["kernel"]
    for r in (run, again)
  ]
  assert (np.asarray(query[0]) != query[1]).any()
  with pytest.raises(UserError, match=r"holds another model \(lora.rank"):
    config = tfx_jax.load(workdir).config
    config.lora.rank = 4
    tfx_jax.load(workdir, config=config)
