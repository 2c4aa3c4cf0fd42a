"""Evaluates a trained run on a split, alone or against a baseline."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.cli.console import listing, say, show, table, texts_progress
from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.evaluation.compare import check_same, compare, comparison_metrics, comparison_rows
from tfx_jax.evaluation.evaluate import best_outputs
from tfx_jax.models.quantized import count_parameters
from tfx_jax.report.curves import draw_curves
from tfx_jax.report.metrics_log import MetricsLog
from tfx_jax.report.samples import write_samples
from tfx_jax.run.loading import load
from tfx_jax.run.run import Run
from tfx_jax.runtime.processes import is_first
from tfx_jax.runtime.signals import raising_terminated
from tfx_jax.runtime.workdir_lock import InUseError, locked


@raising_terminated()  # again, because JAX takes SIGTERM over when processes are connected
def evaluate(config: ConfigDict, workdir: str, baseline: str = "") -> int:
  """Decodes a split, scores the outputs, and records the metrics with the checkpoint's step.

  While another process trains in the workdir, the metrics are printed but not recorded.

  Args:
    config: configuration of the run, with the changes of the command line.
    workdir: folder of the run.
    baseline: workdir of another run to compare with; it decodes the same split with its own
      settings.
  """
  split = config.evaluate.split
  say(f"loading {workdir}")
  run = load(workdir, config=config)
  examples = builders.read_examples(config, split)
  other = _open_baseline(config, baseline, examples) if baseline else None
  with texts_progress(len(examples), f"decoding {split}") as add:
    metrics, rows = run.evaluate(split, add)
  recorded = {
    "checkpoint": config.evaluate.checkpoint,
    "checkpoint_step": run.step,
    "parameters": count_parameters(run.params),
    **metrics,
  }
  if config.generate.ensemble:
    recorded["ensemble"] = ", ".join(config.generate.ensemble)
  shown = listing(recorded)
  if other:
    with texts_progress(len(examples), "decoding with the baseline") as add:
      texts = best_outputs(other.generator, other.params, examples, add)
    comparisons = compare(
      builders.make_task(config).corpus_metrics(),
      [row["output"] for row in rows],
      texts,
      [example.judged_by for example in examples],
      config.evaluate.bootstrap_samples,
    )
    recorded |= {"baseline": baseline, "baseline/step": other.step}
    recorded |= comparison_metrics(comparisons)
    shown += "\n\n" + table(*comparison_rows(comparisons, workdir, baseline))
    left_out = [name for name in config.task.metrics if name not in comparisons]
    if left_out:
      say(f"not compared, because sacreBLEU's test has no such metrics: {', '.join(left_out)}")
  if not is_first():
    return 0
  try:
    with locked(workdir):
      log = MetricsLog(workdir)
      log.write(run.step, split, recorded)
      log.close()
  except InUseError as error:
    # A run in progress would take this line for its final evaluation, or truncate it.
    say(f"{shown}\nnot recorded: {error}")
    return 0
  say(write_samples(workdir, run.step, split, rows, config.evaluate.num_samples))
  if picture := draw_curves(workdir):
    say(f"curves in {picture}")
  show(shown)
  return 0


def _open_baseline(config: ConfigDict, baseline: str, examples: Sequence[Example]) -> Run:
  """Returns the run to compare with, after checking that it can be compared."""
  if not builders.make_task(config).corpus_metrics():
    raise UserError(
      f"--baseline={baseline}: none of task.metrics={', '.join(config.task.metrics)} can be "
      "compared; add bleu, chrf or bleu_moses"
    )
  try:
    run = load(baseline)
    check_same(examples, builders.read_examples(run.config, config.evaluate.split))
  except UserError as error:
    raise UserError(f"--baseline={baseline}: {error}") from error
  return run
