"""Closed and full standard streams: one line of error, and no effect on anything else."""

import contextlib
import pathlib
import subprocess
import sys

import pytest

from tfx_jax.cli.console import say
from tfx_jax.main import main
from tfx_jax.report.progress import Progress
from tfx_jax.runtime.standard_streams import tolerant_standard_error

ROOT = pathlib.Path(__file__).parents[2]
# What a command does, without the time that JAX takes to import.
COMMAND = """
import sys
from tfx_jax.errors import UserError
from tfx_jax.runtime.standard_streams import replace_missing
from tfx_jax.cli.text_files import read_lines, writing
replace_missing()
try:
  lines = read_lines("-")
  with writing(sys.argv[1]) as target:
    print("a message", file=sys.stderr)
    target.write("\\n".join(lines))
except UserError as error:
  print(f"error: {error}", file=sys.stderr)
  sys.exit(2)
"""


def command(redirected, output="-"):
  """Runs the command in a shell; returns the exit status, standard output and standard error."""
  shell = f'printf "a\\nb" | "$1" -c "$2" "$3" {redirected}'
  given = ["sh", "-c", shell, "sh", sys.executable, COMMAND, str(output)]
  done = subprocess.run(given, capture_output=True, text=True, cwd=ROOT)
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
  ("redirected", "message"),
  [
    ("<&-", "error: standard input is closed"),
    (">&-", "error: standard output is closed"),
    (">/dev/full", "a message\nerror: cannot write to standard output: No space left on device"),
  ],
)
def test_an_unusable_stream_is_an_error_of_one_line(redirected, message):
  code, out, err = command(redirected)
  assert (code, out) == (2, "")
  assert err.startswith(message) and err.count("\n") == message.count("\n") + 1


def test_standard_output_named_as_a_file_is_appended_to(tmp_path):
  path = tmp_path / "all"
  path.write_text("before ")
  command(f'>> "{path}"', "/dev/stdout")
  assert path.read_text() == "before a\nb"


def test_without_standard_error_the_output_is_the_same():
  assert command("") == (0, "a\nb", "a message\n")
  assert command("2>&-") == (0, "a\nb", "")


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
def test_no_message_ends_up_in_a_file_that_is_written(tmp_path, closed):
  path = tmp_path / "out"
  # A library writes to the descriptor of standard error, whatever Python has in its place.
  noisy = COMMAND.replace(
    "    target.write", '    import os; os.write(2, b"noise")\n    target.write'
  )
  given = f'printf a | "{sys.executable}" -c "$1" "{path}" {closed}'
  assert subprocess.run(["sh", "-c", given, "sh", noisy], cwd=ROOT).returncode == 0
  assert path.read_text() == "a"


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_commands_report_a_closed_stream(trained, tmp_path, capsys, monkeypatch, stream):
  (tmp_path / "in").write_text("ab\n")
  source = [] if stream == "stdin" else [f"--input={tmp_path / 'in'}"]
  monkeypatch.setattr(sys, stream, None)
  assert main([f"--workdir={trained[1]}", "--mode=generate", *source]) == 2
  assert capsys.readouterr().err.startswith(f"error: standard {stream[3:]}put is closed")


@pytest.mark.parametrize("arguments", [["--config=missing.py"], ["--config=x", "--restarts=1"]])
def test_a_full_standard_error_does_not_change_the_exit_code(arguments):
  program = [sys.executable, "-m", "tfx_jax.main", *arguments]
  with open("/dev/full", "w") as full:
    assert subprocess.run(program, stderr=full, cwd=ROOT).returncode == 2


def test_progress_and_messages_to_a_full_standard_error_are_dropped(monkeypatch):
  with open("/dev/full", "w") as full:
    monkeypatch.setattr(sys, "stderr", full)
    with tolerant_standard_error():
      progress = Progress(total=10, line_every_seconds=0.0)
      progress.update(5, {"loss": 1.0})
      progress.message("a message")
      progress.close()
      print("another message", file=sys.stderr, flush=True)
      say("and another")
    assert sys.stderr is full
    with contextlib.suppress(OSError):
      full.close()
