"""The command line: train, evaluate, generate, chat, prepare, sweep, plan. `--help` says how."""

import argparse
import logging as stdlib_logging
import os
import signal
import sys
from collections.abc import Sequence

from absl import logging

from tfx_jax.cli.options import parse
from tfx_jax.cli.text_files import read_lines, writing
from tfx_jax.common import heartbeat
from tfx_jax.common.names import trusting
from tfx_jax.config import files as config_files
from tfx_jax.errors import UserError
from tfx_jax.runtime.allocator import compute_where_buffers_are_kept, restart_with_kept_buffers
from tfx_jax.runtime.signals import Terminated, is_of_another_process, raising_terminated
from tfx_jax.runtime.standard_streams import discard_output, replace_missing
from tfx_jax.runtime.supervisor import RESTART, SILENCE, Supervisor
from tfx_jax.sweep.grid import make_grid


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command; returns the exit code. What a user can mend is told in one line."""
  replace_missing()
  logging.set_verbosity(logging.WARNING)
  stdlib_logging.root.addHandler(stdlib_logging.lastResort)  # messages alone, not WARNING:absl:…
  logging.get_absl_logger().addFilter(is_news)
  stdlib_logging.getLogger("asyncio").addFilter(is_news)
  try:
    with raising_terminated():
      return _start(sys.argv[1:] if arguments is None else arguments)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    return 128 + signal.SIGINT
  except Terminated:
    print("stopped by SIGTERM; run the same command again", file=sys.stderr)
    return RESTART
  except BrokenPipeError:
    # Whoever read our output has left, as `head` does.
    discard_output()
    return 128 + signal.SIGPIPE
  except Exception as error:
    if not is_of_another_process(error):
      raise
    print(f"a process of the run has died ({error})".splitlines()[0], file=sys.stderr, flush=True)
    os._exit(RESTART)  # JAX would wait for the dead one, and then abort


def is_news(record: stdlib_logging.LogRecord) -> bool:
  """Orbax raises what goes wrong, and before that logs a traceback of it from every thread."""
  return record.name != "asyncio" and f"{os.sep}orbax{os.sep}" not in record.pathname


def _start(arguments: Sequence[str]) -> int:
  """Runs the command, or a parent that supervises it."""
  supervised = heartbeat.connect()
  options = parse(arguments)
  if supervised or (options.restarts is None and options.silence is None):
    with trusting(options.trust):
      return _run(options)
  command = [sys.executable, "-m", "tfx_jax.main", *arguments]
  return Supervisor(command, options.restarts or 0, options.silence or SILENCE).run()


def _run(options: argparse.Namespace) -> int:
  if options.mode == "sweep" and not options.config:
    raise UserError("--mode=sweep needs --config=FILE.py")
  if not options.config and not options.workdir:
    raise UserError("give --config=FILE.py, or --workdir=DIR of a run; --help says more")
  if options.config:
    config = config_files.read_experiment(options.config)
  else:
    config = config_files.read_config(options.workdir, [key for key, _ in options.overrides])
    elsewhere = options.workdir.startswith("hf://")
    if config is None and (elsewhere or os.path.exists(f"{options.workdir}/config.json")):
      from tfx_jax.run import loading

      config = loading.read_config(options.workdir)
    if config is None:
      raise UserError(f"{options.workdir} holds no run; give --config=FILE.py to begin one there")
  for key, text in options.overrides:
    config_files.override(config, key, text)
  if options.mode == "sweep":
    cells = make_grid(config, options.sweeps, [key for key, _ in options.overrides])
  workdir = options.workdir or os.path.join("runs", _name(options.config))

  for line in config_files.keep_old_defaults(config, workdir):
    print(f"as when this run began: {line}", file=sys.stderr)
  if config.train.init_from and options.mode in ("train", "prepare"):
    from tfx_jax.run import loading

    for line in loading.adopt(config, workdir):
      print(f"by train.init_from: {line}", file=sys.stderr)
  texts = read_lines(options.input) if options.mode == "generate" else []
  # Everything slow to import comes after the quick mistakes.
  import jax

  from tfx_jax.runtime import processes

  compute_where_buffers_are_kept()
  processes.join(options.coordinator, options.processes, options.process)
  if processes.several() and options.mode == "chat":
    raise UserError("--mode=chat is for one process")
  if processes.several() and options.mode == "generate" and options.input == "-":
    raise UserError("--input=FILE: several processes must read the same")

  from tfx_jax import builders
  from tfx_jax.builders.validation import validate
  from tfx_jax.cli import chat, evaluate, generate, plan, prepare, sweep, train
  from tfx_jax.runtime import compilation_cache

  if not jax.config.jax_compilation_cache_dir:
    compilation_cache.use(os.path.join(builders.cache_folder(), "xla"))
  if options.mode == "sweep":
    return sweep.sweep(cells, workdir)
  validate(config)
  if options.mode == "plan":
    return plan.plan(config, jax.device_count() if options.devices is None else options.devices)
  if options.mode == "prepare":
    return prepare.prepare(config, workdir)
  if options.mode == "evaluate":
    return evaluate.evaluate(config, workdir, options.baseline)
  if options.mode == "generate":
    with writing(options.output if processes.is_first() else os.devnull) as target:
      return generate.generate(config, workdir, texts, target)
  if options.mode == "chat":
    with writing("-") as target:
      return chat.chat(config, workdir, chat.typed(), target)
  return train.train(config, workdir)


def _name(config: str) -> str:
  """'experiments/wmt.py:big' -> 'wmt-big'."""
  path, _, argument = config.partition(":")
  name = os.path.splitext(os.path.basename(path))[0]
  return f"{name}-{argument}" if argument else name


if __name__ == "__main__":
  restart_with_kept_buffers()
  sys.exit(main())
