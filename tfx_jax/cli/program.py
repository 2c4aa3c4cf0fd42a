"""The program from its arguments to its exit code: errors, signals, and the supervisor."""

import logging as stdlib_logging
import os
import signal
import sys
from collections.abc import Sequence

from absl import logging

from tfx_jax.cli.help import help_text
from tfx_jax.cli.job import read_job
from tfx_jax.cli.options import parse
from tfx_jax.common import heartbeat
from tfx_jax.common.names import trusting
from tfx_jax.errors import UserError
from tfx_jax.runtime.signals import Terminated, is_of_another_process, raising_terminated
from tfx_jax.runtime.standard_streams import (
  discard_output,
  replace_missing,
  tolerant_standard_error,
)
from tfx_jax.runtime.supervisor import RESTART, SILENCE, Supervisor


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command and returns its exit code; an error that a user can cause is one line.

  Args:
    arguments: arguments of the command line; by default those of the process.
  """
  replace_missing()
  with tolerant_standard_error():
    return _report_errors(sys.argv[1:] if arguments is None else arguments)


def _report_errors(arguments: Sequence[str]) -> int:
  """Runs a command; errors and signals become a line on standard error and an exit code."""
  logging.set_verbosity(logging.WARNING)
  if stdlib_logging.lastResort:  # writes messages alone, not WARNING:absl:…
    stdlib_logging.root.addHandler(stdlib_logging.lastResort)
  logging.get_absl_logger().addFilter(is_news)
  stdlib_logging.getLogger("asyncio").addFilter(is_news)
  try:
    with raising_terminated():
      return _supervise_or_run(arguments)
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
    # The reader of our output has closed it, as `head` does.
    discard_output()
    return 128 + signal.SIGPIPE
  except Exception as error:
    if not is_of_another_process(error):
      raise
    print(f"a process of the run has died ({error})".splitlines()[0], file=sys.stderr, flush=True)
    os._exit(RESTART)  # JAX would wait for the dead process, and then abort


def is_news(record: stdlib_logging.LogRecord) -> bool:
  """Returns False for Orbax's tracebacks: it logs one in every thread, and raises the error too."""
  return record.name != "asyncio" and f"{os.sep}orbax{os.sep}" not in record.pathname


def _supervise_or_run(arguments: Sequence[str]) -> int:
  """Runs the command; with --restarts or --silence, runs it in a child that is supervised."""
  supervised = heartbeat.connect()
  options = parse(arguments)
  if options.help:
    print(help_text(options.mode))
    return 0
  if not supervised and (options.restarts is not None or options.silence is not None):
    command = [sys.executable, "-m", "tfx_jax.main", *arguments]
    return Supervisor(command, options.restarts or 0, options.silence or SILENCE).run()
  with trusting(options.trust):
    job = read_job(options)
    # Slow to import: mistakes in options and files are reported before.
    from tfx_jax.cli import modes

    return modes.run(job)
