"""The loop, with a step of its own that is as easily disturbed as a model's and quick."""

import dataclasses
import json
import math
import os
import resource
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clu import metrics

from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.data.corpus import prepare
from tfx_jax.data.example import Example
from tfx_jax.data.layout import EncoderDecoderLayout
from tfx_jax.data.loader import Loader, Position
from tfx_jax.errors import UserError
from tfx_jax.parallel import Parallel
from tfx_jax.report.metrics_log import MetricsLog
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.intervals import Intervals
from tfx_jax.training.loop import train
from tfx_jax.training.recorder import Counters, SkippedLog
from tfx_jax.training.state import TrainState

TIMES = Intervals(12, log_every=5, eval_every=4, decode_every=8, checkpoint_every=7,
                  best_metric="loss", patience=0, max_skipped_steps=2)  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
  """All that a run needs but its workdir; its step hangs on data, randomness and the last state."""
  rng = np.random.default_rng(0)
  texts = ["".join(rng.choice(list("abcdef"), rng.integers(3, 12))) for _ in range(120)]
  tokenizer = CharacterTokenizer("abcdef")
  corpus = prepare(
    [Example(text, text[::-1]) for text in texts], "f", tokenizer, tokenizer,
    str(tmp_path_factory.mktemp("corpora")), 24, 24,
  )  # fmt: skip
  loader, parallel = (
    Loader(lambda epoch: corpus, 0, EncoderDecoderLayout(24, 24), batch_size=8),
    Parallel(),
  )
  assert loader.rows(0) < 12 * 8  # so that an epoch ends on the way

  def make_state():
    return TrainState(jnp.zeros((), jnp.int32), {"w": jnp.ones(8)}, {"m": jnp.zeros(8)})

  def train_step(state, batch, broken=False):
    key = jax.random.fold_in(jax.random.key(0), state.step)
    seen = (batch["inputs"] * batch["weights"]).sum(axis=0).reshape(8, 3).mean(axis=1)
    moment = 0.9 * state.opt_state["m"] + seen * jax.random.uniform(key, (8,))
    params = {"w": state.params["w"] + 1e-3 * moment}
    weight, loss = batch["weights"].sum(), jnp.square(params["w"]).sum()
    figures = {
      "loss": metrics.Average(total=loss * weight, count=weight),
      "objective": metrics.Average(total=2 * loss * weight, count=weight),
      "grad_norm": metrics.LastValue(value=jnp.abs(moment).max()),
      "learning_rate": metrics.LastValue(value=jnp.float32(0.5)),
      "skipped": metrics.LastValue(value=jnp.float32(broken)),
    }
    if broken:
      figures["loss"] = figures["loss"].replace(total=jnp.float32(jnp.nan))
      return state.replace(step=state.step + 1), figures
    return TrainState(state.step + 1, params, {"m": moment}), figures

  def on(parallel):
    shardings = jax.tree.map(lambda _: parallel.replicated, jax.eval_shape(make_state))
    return types.SimpleNamespace(
      parallel=parallel,
      loader=loader,
      make_state=parallel.jit(make_state, out_shardings=shardings),
      shardings=shardings,
      train_step=parallel.jit(
        train_step, donate_argnums=0, out_shardings=(shardings, None), static_argnums=2
      ),
      on=on,
    )

  return on(parallel)


def figures_of(params, step, decode):
  """Figures that another state or another step would not have."""
  leaves = [float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(jax.device_get(params))]
  return {"loss": sum(leaves), "at": step} | ({"bleu": leaves[0]} if decode else {})


def run(parts, workdir, times=TIMES, train_step=None, validate=None, on_write=None):
  """One session of a run, from its last checkpoint on."""

  def plain(params, step, decode, between_batches):
    figures = figures_of(params, step, decode)
    between_batches()
    return figures

  checkpoints = Checkpoints(str(workdir), 1)
  state, counters = parts.make_state(), Counters()
  if (latest := checkpoints.latest()) is not None:
    abstract = jax.eval_shape(parts.make_state.jitted)
    state, saved = checkpoints.restore(latest, abstract, parts.shardings)
    counters = Counters.from_saved(saved)
  log = MetricsLog(str(workdir), resume_at=counters.log_bytes)
  if on_write:
    write = log.write
    log.write = lambda step, split, figures: (write(step, split, figures), on_write(step, split))
  try:
    return train(
      state=state,
      counters=counters,
      train_step=train_step or parts.train_step,
      loader=parts.loader,
      parallel=parts.parallel,
      checkpoints=checkpoints,
      log=log,
      skipped=SkippedLog(str(workdir), int(state.step), parts.loader.examples),
      validate=validate or plain,
      intervals=times,
    )
  finally:
    log.close()
    checkpoints.close()


def lines(workdir):
  with open(workdir / "metrics.jsonl") as file:
    return [json.loads(line) for line in file]


def without_times(workdir):
  return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines(workdir)]


def steps(workdir):
  return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def stop(*_):
  os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
  """The run that nothing disturbs: its workdir, last state and counters."""
  workdir = tmp_path_factory.mktemp("whole")
  state, counters, caught = run(parts, workdir)
  assert caught == 0
  return workdir, jax.device_get(state), counters


def assert_equal_runs(workdir, state, counters, whole):
  assert without_times(workdir) == without_times(whole[0])
  a, b = jax.tree.leaves(jax.device_get(state)), jax.tree.leaves(whole[1])
  assert len(a) == len(b) == 3
  for x, y in zip(a, b, strict=True):
    assert x.dtype == y.dtype and x.tobytes() == y.tobytes()
  found, expected = (json.loads(json.dumps(dataclasses.asdict(c))) for c in (counters, whole[2]))
  # Speeds are of different lengths.
  assert found.pop("log_bytes") > 0 < expected.pop("log_bytes")
  assert found.pop("seconds") > 0 < expected.pop("seconds")
  assert found == expected


def test_what_is_done_when(whole):
  workdir, state, counters = whole
  found = [(line["step"], line["split"], "bleu" in line) for line in lines(workdir)]
  assert found == [
    (4, "validation", False),
    (5, "train", False),
    (8, "validation", True),
    (10, "train", False),
    (12, "validation", True),
  ]
  assert int(state.step) == 12
  assert steps(workdir) == sorted({7, 12, counters.best_step})
  train_lines = [line for line in lines(workdir) if line["split"] == "train"]
  assert all(line["tokens"] > 5 * 100 for line in train_lines)
  for line in train_lines:
    assert line["objective"] == pytest.approx(2 * line["loss"])
  assert "tokens_per_second" in train_lines[0]


def stopping_validate(at, before=True):
  """A validation in which the run is asked to stop, before or after its only batch."""

  def validate(params, step, decode, between_batches):
    if step == at:
      stop()
    if before:
      between_batches()
    return figures_of(params, step, decode)

  return validate


@pytest.mark.parametrize(
  ("session", "saved"),
  [
    ({"on_write": lambda step, split: step == 5 and stop()}, 6),
    ({"on_write": lambda step, split: (step, split) == (10, "train") and stop()}, 11),
    ({"validate": stopping_validate(4)}, 4),
    ({"validate": stopping_validate(8)}, 8),
    ({"validate": stopping_validate(4, before=False)}, 4),
  ],
  ids=["logging", "logging later", "validating", "validating by text", "validated"],
)
def test_stopped_and_resumed_equals_uninterrupted(parts, whole, tmp_path, session, saved):
  before = signal.getsignal(signal.SIGTERM)
  state, _, caught = run(parts, tmp_path, **session)
  assert caught == signal.SIGTERM == 15 and signal.getsignal(signal.SIGTERM) is before
  assert int(state.step) == saved == max(steps(tmp_path))
  state, counters, caught = run(parts, tmp_path)
  assert caught == 0
  assert_equal_runs(tmp_path, state, counters, whole)


def test_on_other_meshes_every_example_is_read_once(parts, tmp_path):
  """Stopped twice, and gone on with on another mesh each time."""

  def collecting(parts, seen):
    def train_step(state, batch):
      seen.append(np.asarray(batch["inputs"]))
      return parts.train_step(state, batch)

    return train_step

  whole, seen = [], []
  uninterrupted, counters, _ = run(parts, tmp_path / "whole", train_step=collecting(parts, whole))
  for sizes, last in (({"data": 8}, 4), ({"data": 2, "fsdp": 4}, 7), ({"fsdp": 8}, 12)):
    other = parts.on(Parallel(**sizes))
    state, found, _ = run(
      other, tmp_path / "run", dataclasses.replace(TIMES, num_steps=last), collecting(other, seen)
    )
  assert np.array_equal(seen, whole) and found.position == counters.position
  np.testing.assert_allclose(state.params["w"], uninterrupted.params["w"], rtol=1e-6)


def test_stopped_again_and_again_in_a_validation(parts, whole, tmp_path):
  seconds = []
  for _ in range(3):
    state, counters, caught = run(parts, tmp_path, validate=stopping_validate(8))
    assert (caught, int(state.step), counters.evaluated) == (signal.SIGTERM, 8, 4)
    seconds.append(counters.seconds)
  assert 0 < seconds[0] < min(seconds[1:])  # time adds up over sessions
  state, counters, _ = run(parts, tmp_path)
  assert_equal_runs(tmp_path, state, counters, whole)


def test_a_line_is_the_mean_over_all_tokens_since_the_last(parts, tmp_path):
  sums = []

  def train_step(state, batch):
    state, figures = parts.train_step(state, batch)
    sums.append((float(figures["loss"].total), float(figures["loss"].count)))
    return state, figures

  for last in (3, 7, 12):
    run(parts, tmp_path, train_step=train_step,
        times=dataclasses.replace(TIMES, num_steps=last, eval_every=0))  # fmt: skip
  for line in lines(tmp_path):
    if line["split"] == "train":
      loss, tokens = np.sum(sums[line["step"] - 5 : line["step"]], axis=0)
      assert (line["loss"], line["tokens"]) == (pytest.approx(loss / tokens), tokens)


class Killed(BaseException):
  """Nothing is saved for it, as for SIGKILL."""


@pytest.mark.parametrize("kills", [[2], [5], [6, 8, 11]])
def test_killed_and_resumed_equals_uninterrupted(parts, whole, tmp_path, kills):
  for kill in kills:

    def train_step(state, batch, kill=kill):
      if int(state.step) == kill:
        raise Killed
      return parts.train_step(state, batch)

    with pytest.raises(Killed):
      run(parts, tmp_path, train_step=train_step)
    with open(tmp_path / "metrics.jsonl", "a") as file:
      file.write('{"step": 99, "spl')
  state, counters, _ = run(parts, tmp_path)
  assert_equal_runs(tmp_path, state, counters, whole)


def test_killed_while_validating(parts, whole, tmp_path):
  def validate(params, step, decode, between_batches):
    raise Killed

  with pytest.raises(Killed):
    run(parts, tmp_path, validate=validate)
  assert steps(tmp_path) == []
  state, counters, _ = run(parts, tmp_path)
  assert_equal_runs(tmp_path, state, counters, whole)


def test_a_full_disk_is_one_line_and_loses_nothing(parts, whole, tmp_path):
  run(parts, tmp_path, on_write=lambda step, _: step == 4 and stop())
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
  try:
    with pytest.raises(UserError, match="cannot write to workdir") as info:
      run(parts, tmp_path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert "\n" not in str(info.value)
  state, counters, _ = run(parts, tmp_path)
  assert_equal_runs(tmp_path, state, counters, whole)


def test_a_second_signal_is_not_waited_for(parts, tmp_path):
  def impatient(params, step, decode, between_batches):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError("not interrupted")

  # A shell that starts the tests in the background has SIGINT ignored.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    with pytest.raises(KeyboardInterrupt):
      run(parts, tmp_path, validate=impatient)
  finally:
    signal.signal(signal.SIGINT, before)


def test_the_last_validation_is_finished(parts, whole, tmp_path):
  state, counters, caught = run(parts, tmp_path, validate=stopping_validate(12))
  assert caught == signal.SIGTERM and counters.evaluated == 12
  assert_equal_runs(tmp_path, state, counters, whole)
  again = run(parts, tmp_path, validate=None)
  assert_equal_runs(tmp_path, again[0], again[1], whole)


def rigged(values):
  """Validations whose figures are these, by step."""
  return lambda params, step, decode, between_batches: (
    {"loss": values[step]} | ({"bleu": -values[step]} if decode else {})
  )


def test_the_best_checkpoint_is_kept_and_patience_ends_the_run(parts, tmp_path):
  times = dataclasses.replace(TIMES, eval_every=2, decode_every=0, patience=2)
  values = {2: 5.0, 4: 6.0, 6: 4.0, 8: 4.5, 10: 4.0, 12: 1.0}
  state, counters, caught = run(parts, tmp_path, times, validate=rigged(values))
  assert (int(state.step), caught) == (10, 0)
  assert counters.stopped_early and (counters.best_step, counters.worse) == (6, 2)
  assert steps(tmp_path) == [6, 7, 10]
  remembered = Checkpoints(str(tmp_path))
  saved = remembered.restore(10, jax.eval_shape(parts.make_state.jitted), parts.shardings)[1]
  remembered.close()
  assert saved["stopped_early"] and saved["best_value"] == 4.0 and saved["evaluated"] == 10


def test_worse_validations_are_counted_over_a_resume(parts, tmp_path):
  times = dataclasses.replace(TIMES, eval_every=2, decode_every=0, patience=3)
  values = {2: 5.0, 4: 6.0, 6: 6.0, 8: 6.0}
  run(parts, tmp_path, times, validate=rigged(values), on_write=lambda n, _: n == 5 and stop())
  assert steps(tmp_path) == [2, 6]
  state, counters, _ = run(parts, tmp_path, times, validate=rigged(values))
  assert (int(state.step), counters.best_step, counters.worse) == (8, 2, 3)


def test_a_validation_that_is_not_finite_is_never_the_best_and_is_told(parts, tmp_path, capsys):
  times = dataclasses.replace(TIMES, eval_every=2, decode_every=0, patience=3)
  values = {2: math.nan, 4: 6.0, 6: math.inf, 8: -math.inf, 10: math.nan}
  state, counters, _ = run(parts, tmp_path, times, validate=rigged(values))
  assert (int(state.step), counters.best_step, counters.best_value) == (10, 4, 6.0)
  assert counters.stopped_early and not counters.finite
  told = [line for line in capsys.readouterr().err.splitlines() if "not the best" in line]
  assert [line[line.index("step") :] for line in told] == [
    f"step {step}: not the best, since loss is {values[step]}" for step in (2, 6, 8, 10)
  ]


def test_the_best_may_be_of_another_figure(parts, tmp_path):
  times = dataclasses.replace(TIMES, decode_every=8, best_metric="bleu")
  # BLEU, the higher the better, is known only where text is decoded.
  _, counters, _ = run(parts, tmp_path, times, validate=rigged({4: 0.0, 8: 1.0, 12: 2.0}))
  assert (counters.best_step, counters.best_value, counters.evaluated) == (8, -1.0, 12)
  assert steps(tmp_path) == [8, 12]


def skipping(parts, bad):
  """A training step whose loss is not finite where it makes one of these steps."""

  def train_step(state, batch):
    return parts.train_step(state, batch, int(state.step) + 1 in bad)

  return train_step


def skipped_lines(workdir):
  with open(workdir / "skipped.jsonl") as file:
    return [json.loads(line) for line in file]


def test_skipped_steps_are_counted_and_their_examples_named(parts, tmp_path):
  state, counters, _ = run(parts, tmp_path, train_step=skipping(parts, {2, 3, 7}))
  assert int(state.step) == 12 and np.isfinite(state.params["w"]).all()
  found = skipped_lines(tmp_path)
  assert [line["step"] for line in found] == [2, 3, 7]
  position, positions = Position(), []
  for _ in range(12):
    positions.append(position)
    _, position = parts.loader.batch(position)
  for line in found:
    place = positions[line["step"] - 1]
    assert line["position"] == list(place) and line["loss"] == "nan"
    assert line["examples"] == parts.loader.examples(place) != []
  train_lines = [line for line in lines(tmp_path) if line["split"] == "train"]
  assert [line["skipped"] for line in train_lines] == [2, 1]
  assert all(np.isfinite(line["loss"]) for line in train_lines)
  assert (counters.skipped, counters.skipped_in_a_row) == (0, 0)


@pytest.mark.parametrize("kills", [[2], [5], [6, 8, 11]])
def test_killed_and_resumed_with_skipped_steps(parts, tmp_path, kills):
  bad = {2, 6, 7, 11}
  whole = run(parts, tmp_path / "whole", train_step=skipping(parts, bad))
  for kill in kills:

    def train_step(state, batch, kill=kill):
      if int(state.step) == kill:
        raise Killed
      return skipping(parts, bad)(state, batch)

    with pytest.raises(Killed):
      run(parts, tmp_path / "run", train_step=train_step)
  state, counters, _ = run(parts, tmp_path / "run", train_step=skipping(parts, bad))
  expected = (tmp_path / "whole", jax.device_get(whole[0]), whole[1])
  assert_equal_runs(tmp_path / "run", state, counters, expected)
  assert skipped_lines(tmp_path / "run") == skipped_lines(tmp_path / "whole")


def test_too_many_in_a_row_end_the_run_with_its_last_good_state(parts, tmp_path):
  times = dataclasses.replace(TIMES, eval_every=0, decode_every=0)
  good, _, _ = run(parts, tmp_path / "good", dataclasses.replace(times, num_steps=3))
  with pytest.raises(UserError, match=r"^4 steps in a row were skipped, .* saved as step 7, ") as e:
    run(parts, tmp_path / "run", times, train_step=skipping(parts, range(4, 20)))
  assert "\n" not in str(e.value)
  assert [line["step"] for line in skipped_lines(tmp_path / "run")] == [4, 5, 6, 7]
  assert max(steps(tmp_path / "run")) == 7
  more = dataclasses.replace(times, num_steps=8, max_skipped_steps=9)
  state, counters, _ = run(parts, tmp_path / "run", more, train_step=skipping(parts, range(4, 20)))
  assert np.array_equal(state.params["w"], good.params["w"]) and int(state.step) == 8
  assert counters.skipped_in_a_row == 5


def test_one_that_is_not_skipped_begins_the_count_anew(parts, tmp_path):
  _, counters, _ = run(parts, tmp_path, train_step=skipping(parts, {1, 2, 4, 5, 7, 8, 10, 11}))
  assert counters.skipped_in_a_row == 0


def test_a_line_without_any_good_step_has_no_loss(parts, tmp_path):
  times = dataclasses.replace(TIMES, max_skipped_steps=5)
  run(parts, tmp_path, times, train_step=skipping(parts, {6, 7, 8, 9, 10}))
  first, second = (line for line in lines(tmp_path) if line["split"] == "train")
  assert first["loss"] > 0 and second["loss"] is None and second["skipped"] == 5


def test_a_run_that_goes_on_after_its_end(parts, whole, tmp_path):
  short = dataclasses.replace(TIMES, num_steps=8)
  state, counters, _ = run(parts, tmp_path, short)
  assert (int(state.step), counters.evaluated) == (8, 8)
  state, counters, _ = run(parts, tmp_path)
  assert_equal_runs(tmp_path, state, counters, whole)


def test_what_is_due():
  assert [step for step in range(13) if TIMES.due(5, step)] == [5, 10, 12]
  assert [step for step in range(13) if TIMES.due(0, step)] == [12]
  assert not TIMES.due(1, 0)
