"""Trains a run, or resumes it, up to its final evaluation."""

import functools
import os
import signal
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.builders.codecs import Codecs
from tfx_jax.cli.console import listing, say, show
from tfx_jax.cli.evaluate import evaluate
from tfx_jax.cli.workdir import final_metrics, open_log, opened, read_counters
from tfx_jax.common.heartbeat import beat
from tfx_jax.common.whole_file import write_whole
from tfx_jax.data.loader import Loader
from tfx_jax.errors import UserError
from tfx_jax.evaluation.evaluate import loss_metrics, output_metrics
from tfx_jax.models.lora import Adapted
from tfx_jax.models.model import Model, Params
from tfx_jax.models.quantized import count_parameters
from tfx_jax.parallel import Parallel
from tfx_jax.report.curves import draw_curves
from tfx_jax.report.live import LiveReport
from tfx_jax.report.samples import write_samples
from tfx_jax.run.loading import load
from tfx_jax.runtime.processes import first_goes_ahead, is_first
from tfx_jax.runtime.supervisor import RESTART
from tfx_jax.training.checkpoints.checkpoint import Checkpoints
from tfx_jax.training.loop import Validate
from tfx_jax.training.loop import train as train_loop
from tfx_jax.training.recorder import Counters, SkippedLog
from tfx_jax.training.state import begin_with, plan_state
from tfx_jax.training.step import make_loss_step

# Share of dropped examples above which a line says why.
_MANY = 0.1


def train(config: ConfigDict, workdir: str) -> int:
  """Trains or resumes a run, and evaluates it on the test set."""
  parallel = check(config)
  say(f"workdir {workdir}")
  if line := builders.describe_held_out(config):
    say(line)
  with opened(config, workdir):
    return _train(config, workdir, parallel)


def _train(config: ConfigDict, workdir: str, parallel: Parallel) -> int:
  step, counters = read_counters(workdir)
  if metrics := final_metrics(config, workdir, step, counters):
    say(f"finished at step {step:,}")
    show(listing(metrics))
    return 0
  # The run or model to start from is opened only if this run has not started.
  source = functools.cache(lambda: load(config.train.init_from))
  given = (lambda: source().codecs) if config.train.init_from else None
  say("reading and tokenizing the data")
  with first_goes_ahead("data"):
    codecs = builders.make_codecs(config, workdir, given)
    loader, validation, _ = (
      _open_data(config, codecs, parallel, split) for split in builders.SPLITS
    )

  model = builders.make_model(config, codecs)
  optimizer, schedule = builders.make_optimization(config)
  trained = builders.make_adapted(config, model)
  make_state, shardings = plan_state(
    trained,
    optimizer,
    config.seed,
    builders.example_of(codecs),
    parallel,
    ema=config.train.ema_decay > 0,
  )
  # Without out_shardings the compiler names equal shardings differently, and step 2 recompiles.
  train_step = parallel.jit(
    builders.make_step(config, trained, optimizer, schedule, parallel, codecs[1].element),
    donate_argnums=0,
    out_shardings=(shardings, None),
  )
  checkpoints = Checkpoints(workdir, config.train.keep_checkpoints, builders.state_settings(config))
  latest = checkpoints.latest()
  if latest is None:
    say("initializing the model")
    state, counters = make_state(), Counters()
    if config.train.init_from:
      state = begin_with(state, source().params, shardings)
      source.cache_clear()
    checkpoints.check_disk(state)
    _describe(workdir, state.params, parallel)
  else:
    abstract = jax.eval_shape(make_state.jitted)
    state, saved = checkpoints.restore_newest(abstract, shardings)
    counters = Counters.from_saved(saved)
    say(f"resuming at step {int(state.step):,}")

  live = LiveReport() if is_first() else None
  say("compiling the training step")
  log = open_log(workdir, resume_at=counters.log_bytes)
  try:
    state, counters, caught = train_loop(
      state=state,
      counters=counters,
      train_step=train_step,
      loader=loader,
      parallel=parallel,
      checkpoints=checkpoints,
      log=log,
      skipped=SkippedLog(workdir, int(state.step), loader.examples),
      validate=_make_validate(config, workdir, trained, codecs, parallel, validation, live),
      intervals=builders.make_intervals(config),
    )
  except UserError:
    checkpoints.close()  # a save in progress is valid: let it finish
    raise
  finally:
    log.close()
  _draw(workdir, live)
  if caught:
    say(
      f"stopped by {signal.Signals(caught).name} at step {int(state.step):,}; "
      "the same command resumes it"
    )
    return RESTART if caught == signal.SIGTERM else 128 + caught
  count = len(checkpoints.steps())
  checkpoints.close()
  check_end(config, counters, count)
  return evaluate(config, workdir)


def check_end(config: ConfigDict, counters: Counters, checkpoints: int) -> None:
  """Checks that the checkpoints for `evaluate.checkpoint` exist; reports if there are fewer.

  Raises:
    UserError: if the best checkpoint is to be evaluated, and no validation was finite.
  """
  which, metric = config.evaluate.checkpoint, config.train.best_metric
  if which == "best" and counters.best_step is None and not counters.finite:
    raise UserError(
      f"there is no best checkpoint: {metric} was never finite in a validation; try a lower "
      "optimizer.learning_rate in another --workdir, or evaluate.checkpoint=latest"
    )
  asked = config.evaluate.average_last or config.train.keep_checkpoints
  if which == "average" and checkpoints < asked:
    say(f"averaging {checkpoints} checkpoint(s), because there are fewer than {asked}")


def check(config: ConfigDict) -> Parallel:
  """Checks that all data exists and that the mesh fits; returns the mesh."""
  for split in builders.SPLITS:
    builders.make_source(config, split)
  return builders.make_parallel(config)


def _open_data(config: ConfigDict, codecs: Codecs, parallel: Parallel, split: str) -> Loader:
  """Returns the loader of a split; reports its size and the dropped examples."""
  corpora = builders.make_corpora(config, split, codecs)
  loader = builders.make_loader(config, corpora, parallel, codecs)
  beat()
  counts = loader.report
  long, empty = counts["pairs_too_long"], counts["pairs_empty"]
  cut = counts["pairs_cut"]
  shortened = f"; sources cut {cut:,} ({cut / counts['pairs_kept']:.1%})" if cut else ""
  removed = counts["records_removed"]
  overlap = f"; records left out that validation or test share {removed:,}" if removed else ""
  say(
    f"{split}: {counts['pairs_kept']:,} examples in {loader.rows(0):,} rows, {loader.describe()}; "
    f"dropped {long:,} longer than a row, {empty:,} empty{shortened}{overlap}"
  )
  if long > _MANY * counts["pairs_read"]:
    say(
      f"{split}: {long / counts['pairs_read']:.0%} of the examples are left out, because their "
      f"sources are longer than data.source_length={config.data.source_length} tokens, or their "
      f"targets than data.target_length={config.data.target_length}"
    )
  return loader


def _make_validate(
  config: ConfigDict,
  workdir: str,
  trained: Model,
  codecs: Codecs,
  parallel: Parallel,
  loader: Loader,
  live: LiveReport | None,
) -> Validate:
  """Returns the function that validates by loss and, if asked, by decoded text; it draws curves."""
  if isinstance(trained, Adapted):
    model, merge = trained.model, parallel.jit(trained.merge)
  else:
    model, merge = trained, lambda params: params
  generator = builders.make_generator(config, model, codecs, parallel)
  loss_step = parallel.jit(
    make_loss_step(builders.make_objective(config, model, parallel, codecs[1].element))
  )
  exact = builders.has_likelihood(config)
  task = builders.make_task(config)
  examples = builders.read_examples(config, "validation", config.train.decode_examples)

  def validate(
    params: Params, step: int, decode: bool, between_batches: Callable[[], None]
  ) -> dict[str, float | str]:
    params = merge(params)
    figures: dict[str, float | str] = {
      **loss_metrics(loss_step, params, loader, parallel, exact=exact)
    }
    if decode:
      texts, rows = output_metrics(generator, params, task, examples, lambda _: between_batches())
      figures |= texts
      if live:
        shown = config.evaluate.num_samples
        live.text(write_samples(workdir, step, "validation", rows, shown))
    _draw(workdir, live)
    return figures

  return validate


def _draw(workdir: str, live: LiveReport | None) -> None:
  """Draws the curves, in the process that has a report."""
  if live and (path := draw_curves(workdir)):
    live.picture(path)


def _describe(workdir: str, params: Params, parallel: Parallel) -> None:
  from clu import parameter_overview

  if not is_first():
    return
  overview = parameter_overview.get_parameter_overview(params, include_stats=False)
  try:
    write_whole(os.path.join(workdir, "parameters.txt"), overview + "\n")
  except OSError as error:
    raise UserError(f"cannot write to workdir {workdir}: {error.strerror}") from error
  sizes = ", ".join(f"{name} {size}" for name, size in parallel.sizes.items())
  learnt = ""
  if "adapters" in params:
    learnt = f", {count_parameters(params['adapters']):,} of them learnt,"
  say(
    f"{count_parameters(params):,} parameters{learnt} on {jax.device_count()} "
    f"{jax.default_backend()} device(s) ({sizes})"
  )
