"""The command line: train, evaluate, generate, chat, prepare, sweep, plan. `--help` says how."""

import argparse
import contextlib
import logging as stdlib_logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from absl import logging

from tfx_jax import config_io
from tfx_jax.errors import UserError, nearest
from tfx_jax.sweep.grid import make_grid

MODES = ("train", "evaluate", "generate", "chat", "prepare", "sweep", "plan")
USAGE = """python -m tfx_jax.main --config=FILE.py[:ARGUMENT] [--workdir=DIR] [--config.KEY=VALUE …]
       python -m tfx_jax.main --workdir=DIR --mode=evaluate [--baseline=DIR]
       python -m tfx_jax.main --workdir=DIR --mode=generate --input=FILE|- --output=FILE|-
       python -m tfx_jax.main --workdir=DIR --mode=chat
       python -m tfx_jax.main --config=FILE.py --mode=prepare
       python -m tfx_jax.main --config=FILE.py --mode=plan --devices=N
       python -m tfx_jax.main --config=FILE.py --workdir=DIR --mode=sweep --sweep.KEY=VALUE,VALUE,…
           [--sweep.KEY=VALUE,… …]

Of a run of several processes each is started with the same command and
       --coordinator=HOST:PORT --processes=N --process=I, or --coordinator=auto"""


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command; returns the exit code. What a user can mend is told in one line."""
  logging.set_verbosity(logging.WARNING)
  logging.get_absl_logger().addFilter(_is_news)
  stdlib_logging.getLogger("asyncio").addFilter(_is_news)
  try:
    return _run(_parse(sys.argv[1:] if arguments is None else arguments))
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    return 128 + signal.SIGINT
  except BrokenPipeError:
    # Whoever read our output has left, as `head` does.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _is_news(record: stdlib_logging.LogRecord) -> bool:
  """Orbax raises what goes wrong, and before that logs a traceback of it from every thread."""
  of_orbax = record.name == "asyncio" or f"{os.sep}orbax{os.sep}" in record.pathname
  return record.levelno < stdlib_logging.ERROR or not of_orbax


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
  parser.add_argument("--devices", type=int, help="that there would be (plan)")
  parser.add_argument(
    "--coordinator", default="", help="HOST:PORT of process 0, or auto: as the cluster says"
  )
  parser.add_argument("--processes", type=int, help="how many there are")
  parser.add_argument("--process", type=int, help="which of them this is, from 0")
  parser.set_defaults(overrides=overrides, sweeps=sweeps)
  try:
    options, unknown = parser.parse_known_args(rest)
  except argparse.ArgumentError as error:
    raise UserError(str(error)) from error
  if unknown:
    name = unknown[0].split("=")[0]
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    raise UserError(f"unknown argument {unknown[0]}{nearest(name, known)}")
  if options.mode not in MODES:
    raise UserError(f"--mode={options.mode}{nearest(options.mode, MODES)}")
  for option, given, mode in (
    ("--baseline", options.baseline, "evaluate"),
    ("--sweep.KEY", options.sweeps, "sweep"),
    ("--devices", options.devices is not None, "plan"),
  ):
    if given and options.mode != mode:
      raise UserError(f"{option} needs --mode={mode}")
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
  # Everything slow to import comes after the quick mistakes.
  import jax

  from tfx_jax import processes

  processes.join(options.coordinator, options.processes, options.process)
  if processes.several() and options.mode == "chat":
    raise UserError("--mode=chat is for one process")
  if processes.several() and options.mode == "generate" and options.input == "-":
    raise UserError("--input=FILE: several processes must read the same")

  from tfx_jax import build
  from tfx_jax.commands import chat, evaluate, generate, plan, prepare, sweep, train
  from tfx_jax.validation import validate

  if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", os.path.join(build.cache_folder(), "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
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
    with _writing(options.output if processes.is_first() else os.devnull) as target:
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
