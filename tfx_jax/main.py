"""The command line: train, evaluate, generate, chat, prepare, sweep. `--help` says how."""

import argparse
import contextlib
import logging as stdlib_logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from absl import logging

from tfx_jax import config_io, heartbeat
from tfx_jax.allocator import keep_large_buffers
from tfx_jax.errors import UserError, nearest
from tfx_jax.supervisor import RESTART, SILENCE, Supervisor
from tfx_jax.sweep.grid import make_grid
from tfx_jax.training.signals import Terminated, is_of_another_process, raising_terminated

MODES = ("train", "evaluate", "generate", "chat", "prepare", "sweep")
USAGE = """python -m tfx_jax.main --config=FILE.py[:ARGUMENT] [--workdir=DIR] [--config.KEY=VALUE …]
       python -m tfx_jax.main --workdir=DIR --mode=evaluate [--baseline=DIR]
       python -m tfx_jax.main --workdir=DIR --mode=generate --input=FILE|- --output=FILE|-
       python -m tfx_jax.main --workdir=DIR --mode=chat
       python -m tfx_jax.main --config=FILE.py --mode=prepare
       python -m tfx_jax.main --config=FILE.py --workdir=DIR --mode=sweep --sweep.KEY=VALUE,VALUE,…
           [--sweep.KEY=VALUE,… …]
       train and sweep: [--restarts=N] [--silence=SECONDS]"""


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command; returns the exit code. What a user can mend is told in one line."""
  logging.set_verbosity(logging.WARNING)
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
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
  options = _parse(arguments)
  if supervised or (options.restarts is None and options.silence is None):
    return _run(options)
  command = [sys.executable, "-m", "tfx_jax.main", *arguments]
  return Supervisor(command, options.restarts or 0, options.silence or SILENCE).run()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
  """Options; `overrides` and `sweeps` are pairs of config key and text in the order given."""
  overrides, sweeps, rest = [], [], []
  for word in arguments:
    option, given, value = word.partition("=")
    if option.startswith("--config."):
      overrides.append((option.removeprefix("--config."), value if given else "True"))
    elif option.startswith("--sweep."):
      sweeps.append((option.removeprefix("--sweep."), value))
    else:
      rest.append(word)
  parser = argparse.ArgumentParser(
    "tfx_jax.main", usage=USAGE, allow_abbrev=False, exit_on_error=False
  )
  parser.add_argument("--config", default="", help="experiment file, and its argument")
  parser.add_argument("--workdir", default="", help="where the run is kept; default runs/NAME")
  parser.add_argument("--mode", default="train", help=", ".join(MODES))
  parser.add_argument("--input", default="-", help="texts to generate from, one a line; -: stdin")
  parser.add_argument("--output", default="-", help="where outputs are written; -: stdout")
  parser.add_argument("--baseline", default="", help="workdir of a run to compare with (evaluate)")
  parser.add_argument("--restarts", type=int, help="how often a run that died is started again")
  parser.add_argument("--silence", type=float, help="seconds after which a silent run hangs")
  parser.set_defaults(overrides=overrides, sweeps=sweeps)
  try:
    options, unknown = parser.parse_known_args(rest)
  except argparse.ArgumentError as error:
    raise UserError(str(error)) from error
  if unknown:
    name = unknown[0].split("=")[0]
    known = ["--config", "--workdir", "--mode", "--input", "--output", "--baseline"]
    known += ["--restarts", "--silence"]
    raise UserError(f"unknown argument {unknown[0]}{nearest(name, known)}")
  if options.mode not in MODES:
    raise UserError(f"--mode={options.mode}{nearest(options.mode, MODES)}")
  for option, given, modes in (
    ("--baseline", options.baseline, ("evaluate",)),
    ("--sweep.KEY", options.sweeps, ("sweep",)),
    ("--restarts", options.restarts is not None, ("train", "sweep")),
    ("--silence", options.silence is not None, ("train", "sweep")),
  ):
    if given and options.mode not in modes:
      raise UserError(f"{option} needs --mode={' or '.join(modes)}")
  if (options.restarts or 0) < 0:
    raise UserError(f"--restarts={options.restarts}: use 0 or more")
  if options.silence is not None and options.silence <= 0:
    raise UserError(f"--silence={options.silence}: use seconds above 0")
  return options


def _run(options: argparse.Namespace) -> int:
  if options.mode == "sweep" and not options.config:
    raise UserError("--mode=sweep needs --config=FILE.py")
  if not options.config and not options.workdir:
    raise UserError("give --config=FILE.py, or --workdir=DIR of a run; --help says more")
  if options.config:
    config = config_io.read_experiment(options.config)
  else:
    config = config_io.read_config(options.workdir)
    elsewhere = options.workdir.startswith("hf://")
    if config is None and (elsewhere or os.path.exists(f"{options.workdir}/config.json")):
      from tfx_jax import loading

      config = loading.read_config(options.workdir)
    if config is None:
      raise UserError(f"{options.workdir} holds no run; give --config=FILE.py to begin one there")
  for key, text in options.overrides:
    config_io.override(config, key, text)
  if options.mode == "sweep":
    cells = make_grid(config, options.sweeps, [key for key, _ in options.overrides])
  workdir = options.workdir or os.path.join("runs", _name(options.config))

  if config.train.init_from and options.mode in ("train", "prepare"):
    from tfx_jax import loading

    for line in loading.adopt(config, workdir):
      print(f"by train.init_from: {line}", file=sys.stderr)
  texts = _read_lines(options.input) if options.mode == "generate" else []
  keep_large_buffers()
  # Everything slow to import comes after the quick mistakes.
  import jax

  from tfx_jax import build, compilation_cache
  from tfx_jax.commands import chat, evaluate, generate, prepare, sweep, train
  from tfx_jax.validation import validate

  if not jax.config.jax_compilation_cache_dir:
    compilation_cache.use(os.path.join(build.cache_folder(), "xla"))
  if options.mode == "sweep":
    return sweep.sweep(cells, workdir)
  validate(config)
  if options.mode == "prepare":
    return prepare.prepare(config, workdir)
  if options.mode == "evaluate":
    return evaluate.evaluate(config, workdir, options.baseline)
  if options.mode == "generate":
    with _writing(options.output) as target:
      return generate.generate(config, workdir, texts, target)
  if options.mode == "chat":
    with _writing("-") as target:
      return chat.chat(config, workdir, chat.typed(), target)
  return train.train(config, workdir)


def _name(config: str) -> str:
  """'experiments/wmt.py:big' -> 'wmt-big'."""
  path, _, argument = config.partition(":")
  name = os.path.splitext(os.path.basename(path))[0]
  return f"{name}-{argument}" if argument else name


def _read_lines(path: str) -> list[str]:
  """The lines of a UTF-8 file, or for '-' of standard input."""
  try:
    if path == "-":
      content = sys.stdin.buffer.read()
    else:
      with open(path, "rb") as file:
        content = file.read()
  except OSError as error:
    raise UserError(f"cannot read --input={path}: {error.strerror}") from error
  lines = []
  for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], 1):
    try:
      lines.append(line.removesuffix(b"\r").decode())
    except UnicodeDecodeError as error:
      raise UserError(f"--input={path}, line {number}: not UTF-8 ({error.reason})") from error
  return lines


@contextlib.contextmanager
def _writing(path: str) -> Iterator[TextIO]:
  """A UTF-8 file that appears when it is whole, or for '-' standard output."""
  if path == "-":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    yield sys.stdout
    sys.stdout.flush()
    return
  # A device or a pipe is written to, not replaced.
  name = f"{path}.tmp" if os.path.isfile(path) or not os.path.exists(path) else path
  try:
    with open(name, "w", encoding="utf-8", newline="\n") as file:
      yield file
    if name != path:
      os.replace(name, path)
  except OSError as error:
    raise UserError(f"cannot write --output={path}: {error.strerror}") from error
  finally:
    if name != path:
      with contextlib.suppress(OSError):
        os.remove(name)


if __name__ == "__main__":
  sys.exit(main())
