"""What the command line does: train, evaluate, generate, prepare."""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from tfx_jax import build, config_io
from tfx_jax import run as run_lib
from tfx_jax.curves import draw_curves
from tfx_jax.data.loader import Loader
from tfx_jax.errors import UserError
from tfx_jax.evaluation.align import pharaoh
from tfx_jax.evaluation.evaluate import loss_figures, text_figures
from tfx_jax.parallel import Parallel
from tfx_jax.report import MetricsLog, write_samples
from tfx_jax.training.checkpoint import Checkpoints
from tfx_jax.training.loop import Counters, Validate
from tfx_jax.training.loop import train as train_loop
from tfx_jax.training.state import plan_state
from tfx_jax.training.step import make_loss_step

# Beginnings of the keys that a run cannot change once it has begun, and those of them that it can.
FIXED = ("task.", "data.", "tokenizer.", "model.", "optimizer.", "seed")
MOVABLE = ("data.cache_dir",)

# What a text may not hold where it is one line, or one column, of several.
_BREAKS = str.maketrans("\t\n\r", "   ")


def train(config: ConfigDict, workdir: str) -> int:
  """Trains, or goes on training, and ends with the figures of the test set."""
  for split in build.SPLITS:
    build.make_reader(config, split)
  parallel = build.make_parallel(config)
  say(f"workdir {workdir}")
  _settle_config(config, workdir)
  tokenizers = build.make_tokenizers(config, workdir)
  loader = _open_data(config, tokenizers, "train")
  validation = _open_data(config, tokenizers, "validation")
  _open_data(config, tokenizers, "test")

  model = build.make_model(config, tokenizers)
  optimizer, schedule = build.make_optimization(config)
  make_state, shardings = plan_state(
    model, optimizer, config.seed, run_lib.EXAMPLE, parallel, ema=config.train.ema_decay > 0
  )
  # Left to itself, the compiler names the same shardings otherwise, and step 2 compiles again.
  train_step = parallel.jit(
    build.make_step(config, model, optimizer, schedule),
    donate_argnums=0,
    out_shardings=(shardings, None),
  )
  timetable = build.make_timetable(config)
  checkpoints = Checkpoints(workdir, config.train.keep_checkpoints)
  latest = checkpoints.latest()
  if latest is None:
    state, counters = make_state(), Counters()
    checkpoints.check_room(state)
    _describe(workdir, state.params, parallel)
  else:
    abstract = jax.eval_shape(make_state.jitted)
    state, saved = checkpoints.restore(latest, abstract, shardings)
    counters = Counters(**saved)
    finished = latest >= timetable.num_steps or counters.stopped_early
    say(f"{'finished' if finished else 'going on'} at step {latest:,}")
    if finished and counters.evaluated == latest and (figures := _test_figures(workdir)):
      say(_table(figures))
      return 0

  log = MetricsLog(workdir, resume_at=counters.log_bytes)
  try:
    state, counters, caught = train_loop(
      state=state,
      counters=counters,
      train_step=train_step,
      loader=loader,
      parallel=parallel,
      checkpoints=checkpoints,
      log=log,
      validate=_make_validate(config, workdir, model, tokenizers, parallel, validation),
      timetable=timetable,
    )
  except UserError:
    checkpoints.close()  # the save that may be on its way is a good one
    raise
  finally:
    log.close()
  draw_curves(workdir)
  if caught:
    say(
      f"stopped by {signal.Signals(caught).name} at step {int(state.step):,}; "
      "the same command goes on from there"
    )
    return 128 + caught
  checkpoints.close()
  return evaluate(config, workdir)


def evaluate(config: ConfigDict, workdir: str) -> int:
  """Decodes a split, scores it, and records the figures with the checkpoint they are of."""
  split = config.evaluate.split
  run = run_lib.load(workdir, config=config)
  count = len(build.read_examples(config, split))
  with _bar(count, f"decoding {split}") as bar:
    figures, rows = run.evaluate(split, bar.update)
  which = {"checkpoint": config.evaluate.checkpoint, "checkpoint_step": run.step}
  if config.generate.ensemble:
    which["ensemble"] = ", ".join(config.generate.ensemble)
  figures = which | figures
  log = MetricsLog(workdir)
  log.write(run.step, split, figures)
  log.close()
  say(write_samples(workdir, run.step, split, rows, config.evaluate.num_samples))
  say(_table(figures))
  if picture := draw_curves(workdir):
    say(f"curves in {picture}")
  return 0


def generate(config: ConfigDict, workdir: str, texts: Sequence[str], target: TextIO) -> int:
  """Generates from each text, in order, and writes a line for it; empty texts stay empty.

  With `generate.scores`, `generate.alignments` or several hypotheses an input, lines are TSV: input
  number from 1, rank from 1, score, log-probability, text, and the links of words if asked for.
  """
  run = run_lib.load(workdir, config=config)
  with _bar(sum(1 for text in texts if text.strip()), "generating") as bar:
    results = run.generator(run.params, texts, bar.update)
  aligned = config.generate.alignments
  if aligned:
    pairs = [
      (text, best.tokens) for text, found in zip(texts, results, strict=True) for best in found
    ]
    alignments = iter(run.attention([text for text, _ in pairs], [tokens for _, tokens in pairs]))
  table = config.generate.scores or aligned or config.generate.num_return > 1
  for number, hypotheses in enumerate(results, 1):
    if not table:
      target.write((hypotheses[0].text if hypotheses else "").translate(_BREAKS) + "\n")
      continue
    for rank, best in enumerate(hypotheses, 1):
      text = best.text.translate(_BREAKS)
      links = f"\t{pharaoh(next(alignments).word_links())}" if aligned else ""
      target.write(f"{number}\t{rank}\t{best.score:.6f}\t{best.log_prob:.6f}\t{text}{links}\n")
  return 0


def prepare(config: ConfigDict, workdir: str) -> int:
  """Makes the tokenizer and the tokenised corpora, ahead of training."""
  for split in build.SPLITS:
    build.make_reader(config, split)
  _settle_config(config, workdir)
  tokenizers = build.make_tokenizers(config, workdir)
  for split in build.SPLITS:
    say(f"{split}: {json.dumps(build.make_corpus(config, split, tokenizers).report)}")
  return 0


def say(text: str) -> None:
  """Tells the user; standard output is for results."""
  print(text, file=sys.stderr, flush=True)


def _settle_config(config: ConfigDict, workdir: str) -> None:
  """Writes the configuration into the workdir, unless the workdir is another run's."""
  old = config_io.read_config(workdir)
  made = [name for name in ("checkpoints", "tokenizer") if os.path.isdir(f"{workdir}/{name}")]
  if old is not None and made:
    changes = config_io.differences(old.to_dict(), config.to_dict())
    fixed = [x for x in changes if x.startswith(FIXED) and not x.startswith(MOVABLE)]
    if fixed:
      raise UserError(
        f"{workdir} holds another run ({fixed[0]}): choose another --workdir, or the old setting"
      )
    for line in changes:
      say(f"changed since this run began: {line}")
    cores = config_io.recorded_cpu_count(workdir)
    if cores != config_io.cpu_count():
      say(f"begun on {cores} processors, now {config_io.cpu_count()}: results differ by rounding")
    if not changes:
      return
  elif made:
    raise UserError(f"{workdir} holds {made[0]} but no config.json: choose another --workdir")
  config_io.write_config(workdir, config)


def _open_data(config: ConfigDict, tokenizers: tuple, split: str) -> Loader:
  """The loader of a split; says what it holds and what was dropped."""
  corpora = build.make_corpora(config, split, tokenizers)
  loader = build.make_loader(config, corpora)
  counts, (source, target) = corpora(0).report, loader.density()
  long, empty = counts["pairs_too_long"], counts["pairs_empty"]
  say(
    f"{split}: {counts['pairs_kept']:,} pairs in {loader.rows(0):,} rows, {source:.1%} of "
    f"{config.data.source_length} source and {target:.1%} of {config.data.target_length} target "
    f"tokens real; dropped {long:,} longer than a row, {empty:,} empty"
  )
  return loader


def _make_validate(
  config: ConfigDict,
  workdir: str,
  model: nn.Module,
  tokenizers: tuple,
  parallel: Parallel,
  loader: Loader,
) -> Validate:
  """What the loop calls to validate: by loss, by decoded text where asked, with new curves."""
  generator = build.make_generator(config, model, tokenizers, parallel)
  loss_step = parallel.jit(make_loss_step(model))
  task = build.make_task(config)
  examples = build.read_examples(config, "validation", config.train.decode_examples)

  def validate(
    params: Any, step: int, decode: bool, between_batches: Callable[[], None]
  ) -> dict[str, float | str]:
    figures = loss_figures(loss_step, params, loader, parallel)
    if decode:
      texts, rows = text_figures(generator, params, task, examples, lambda _: between_batches())
      figures |= texts
      write_samples(workdir, step, "validation", rows, 0)
    draw_curves(workdir)
    return figures

  return validate


def _describe(workdir: str, params: Any, parallel: Parallel) -> None:
  from clu import parameter_overview

  overview = parameter_overview.get_parameter_overview(params, include_stats=False)
  try:
    with open(os.path.join(workdir, "parameters.txt"), "w", encoding="utf-8") as file:
      file.write(overview + "\n")
  except OSError as error:
    raise UserError(f"cannot write to workdir {workdir}: {error.strerror}") from error
  sizes = ", ".join(f"{name} {size}" for name, size in parallel.sizes.items())
  say(
    f"{run_lib.count_parameters(params):,} parameters on {jax.device_count()} "
    f"{jax.default_backend()} device(s) ({sizes})"
  )


def _test_figures(workdir: str) -> dict | None:
  """The figures of the last line of the log, if it is a test's."""
  path = os.path.join(workdir, "metrics.jsonl")
  if not os.path.exists(path):
    return None
  with open(path, encoding="utf-8") as file:
    lines = [line for line in file if line.endswith("\n")]
  last = json.loads(lines[-1]) if lines else {}
  return last if last.get("split") == "test" else None


def _table(figures: dict) -> str:
  width = max(map(len, figures))
  shown = (f"{v:.4f}" if isinstance(v, float) else v for v in figures.values())
  return "\n".join(f"{name:<{width}}  {value}" for name, value in zip(figures, shown, strict=True))


def _bar(total: int, title: str) -> Any:
  """A progress bar of texts, on a terminal only."""
  from tqdm.auto import tqdm

  return tqdm(total=total, desc=title, unit=" texts", file=sys.stderr, disable=None)
