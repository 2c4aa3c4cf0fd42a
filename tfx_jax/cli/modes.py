"""From the name of a mode to the command that runs it."""

import os
from collections.abc import Callable, Mapping

import jax

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.cli import chat, evaluate, generate, plan, prepare, sweep, train
from tfx_jax.cli.job import Job
from tfx_jax.cli.text_files import writing
from tfx_jax.errors import UserError
from tfx_jax.runtime import compilation_cache, processes
from tfx_jax.runtime.allocator import compute_where_buffers_are_kept


def run(job: Job) -> int:
  """Joins the processes of the run, checks the configuration and runs the mode's command.

  Returns:
    the exit code.

  Raises:
    UserError: for a configuration or an option that makes no sense.
  """
  options = job.options
  compute_where_buffers_are_kept()
  processes.join(options.coordinator, options.processes, options.process)
  if processes.several() and options.mode == "chat":
    raise UserError("--mode=chat runs in one process only")
  if processes.several() and options.mode == "generate" and options.input == "-":
    raise UserError("--input=- is of one process only: use --input=FILE, which all can read")
  if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
    compilation_cache.use(os.path.join(builders.cache_folder(), "xla"))
  if options.mode != "sweep":  # which checks each of its configurations
    validate(job.config)
  return MODES[options.mode](job)


def _generate(job: Job) -> int:
  with writing(job.options.output if processes.is_first() else os.devnull) as target:
    return generate.generate(job.config, job.workdir, job.texts, target)


def _chat(job: Job) -> int:
  with writing("-") as target:
    return chat.chat(job.config, job.workdir, chat.typed(), target)


def _plan(job: Job) -> int:
  devices = job.options.devices
  return plan.plan(job.config, jax.device_count() if devices is None else devices)


MODES: Mapping[str, Callable[[Job], int]] = {
  "train": lambda job: train.train(job.config, job.workdir),
  "evaluate": lambda job: evaluate.evaluate(job.config, job.workdir, job.options.baseline),
  "generate": _generate,
  "chat": _chat,
  "prepare": lambda job: prepare.prepare(job.config, job.workdir),
  "sweep": lambda job: sweep.sweep(job.cells, job.workdir),
  "plan": _plan,
}
