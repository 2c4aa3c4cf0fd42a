"""From the name of a mode to the command that runs it.

Each command is imported only to be run: training needs libraries that are slow to import.
"""

import os
from collections.abc import Callable, Mapping

import jax
from absl import logging

from tfx_jax import builders
from tfx_jax.builders.validation import validate
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
  if not processes.is_first():
    logging.set_verbosity(logging.ERROR)  # one of them speaks
  if processes.several() and options.mode in ("chat", "demo", "export"):
    raise UserError(f"--mode={options.mode} runs in one process only")
  if processes.several() and options.mode == "generate" and options.input == "-":
    raise UserError("--input=- is of one process only: use --input=FILE, which all can read")
  compilation_cache.use(builders.cache_folder())
  if options.mode != "sweep":  # which checks each of its configurations
    validate(job.config)
  return MODES[options.mode](job)


def _train(job: Job) -> int:
  from tfx_jax.cli.train import train

  return train(job.config, job.workdir)


def _evaluate(job: Job) -> int:
  from tfx_jax.cli.evaluate import evaluate

  return evaluate(job.config, job.workdir, job.options.baseline)


def _generate(job: Job) -> int:
  from tfx_jax.cli.generate import generate, generate_pictures

  if builders.side_kinds(job.config)[1] == "image":
    return generate_pictures(job.config, job.workdir, job.texts, job.options.output)
  with writing(job.options.output if processes.is_first() else os.devnull) as target:
    return generate(job.config, job.workdir, job.texts, target)


def _export(job: Job) -> int:
  from tfx_jax.cli.export import export

  options = job.options
  return export(job.config, job.workdir, options.output, options.format, options.architecture)


def _chat(job: Job) -> int:
  from tfx_jax.cli.chat import chat, typed

  with writing("-") as target:
    return chat(job.config, job.workdir, typed(), target)


def _demo(job: Job) -> int:
  from tfx_jax.cli.demo import demo

  return demo(job.config, job.workdir, job.options.host, job.options.port)


def _prepare(job: Job) -> int:
  from tfx_jax.cli.prepare import prepare

  return prepare(job.config, job.workdir)


def _sweep(job: Job) -> int:
  from tfx_jax.cli.sweep import sweep

  return sweep(job.cells, job.workdir)


def _plan(job: Job) -> int:
  from tfx_jax.cli.plan import plan

  devices = job.options.devices
  return plan(job.config, jax.device_count() if devices is None else devices)


MODES: Mapping[str, Callable[[Job], int]] = {
  "train": _train,
  "evaluate": _evaluate,
  "generate": _generate,
  "export": _export,
  "chat": _chat,
  "demo": _demo,
  "prepare": _prepare,
  "sweep": _sweep,
  "plan": _plan,
}
