"""Generates from lines, which are texts or paths of pictures, with a trained run."""

from collections.abc import Iterator, Sequence
from typing import TextIO

from ml_collections import ConfigDict

from tfx_jax.cli.console import BREAKS, say, texts_progress
from tfx_jax.cli.pictures import write_pictures
from tfx_jax.codecs.text.unknown import describe_unknown
from tfx_jax.common.new_folder import check_new
from tfx_jax.errors import UserError
from tfx_jax.evaluation.align import pharaoh
from tfx_jax.generation.generator import Hypothesis
from tfx_jax.generation.inputs import is_text
from tfx_jax.run.inputs import read_inputs
from tfx_jax.run.loading import load
from tfx_jax.run.run import Run
from tfx_jax.runtime.processes import is_first
from tfx_jax.runtime.signals import raising_terminated


@raising_terminated()  # again, because JAX takes SIGTERM over when processes are connected
def generate(config: ConfigDict, workdir: str, texts: Sequence[str], target: TextIO) -> int:
  """Generates from each text, in order, and writes a line for it; empty texts stay empty.

  With `generate.scores`, `generate.alignments` or several outputs of an input, lines are TSV: input
  number from 1, rank from 1, score, log-probability, text, and word alignments if asked for. Tabs
  and line ends in an output become spaces. With `generate.stream` each output is written while it
  is generated.

  Args:
    config: the run's configuration, with the changes of the command line.
    workdir: the run.
    texts: the inputs.
    target: file that outputs are written to.

  Raises:
    UserError: for a stream of anything but text.
  """
  aligned = config.generate.alignments
  table = config.generate.scores or aligned
  if config.generate.stream and table:
    raise UserError("generate.stream=True writes text alone: without scores and alignments")
  say(f"loading {workdir}")
  run = load(workdir, config=config)
  _report_unknown(run, texts)
  if config.generate.stream:
    return _stream(run, texts, target)
  values = read_inputs(run.codecs[0], "--input", texts, config.image.fit)
  with texts_progress(_filled(texts), "generating") as add:
    results = run.generator(run.params, values, add)
  if table or config.generate.num_return > 1:
    links = _word_links(run, texts, results) if aligned else None
    target.writelines(_table(results, links))
  else:
    lines = (best[0].text if best else "" for best in results)
    target.writelines(line.translate(BREAKS) + "\n" for line in lines)
  return 0


def generate_pictures(config: ConfigDict, workdir: str, texts: Sequence[str], folder: str) -> int:
  """Draws a picture for each line of text, in order, and writes them into a folder; none for ''.

  Args:
    config: the run's configuration, with the changes of the command line.
    workdir: the run.
    texts: the inputs.
    folder: a new or an empty folder.

  Raises:
    UserError: for settings that are for texts, or a folder that cannot be written or is not empty.
  """
  if folder == "-":
    raise UserError("the outputs of this run are pictures: use --output=FOLDER")
  check_new(folder)
  for name in ("scores", "alignments", "stream"):
    if config.generate[name]:
      raise UserError(f"generate.{name}=True is for outputs that are texts, these are pictures")
  say(f"loading {workdir}")
  run = load(workdir, config=config)
  _report_unknown(run, texts)
  values = read_inputs(run.codecs[0], "--input", texts, config.image.fit)
  with texts_progress(_filled(texts), "generating") as add:
    results = run.generator(run.params, values, add)
  pictures = [[output.value for output in outputs if output.tokens] for outputs in results]
  if is_first():
    write_pictures(folder, pictures, texts)
    say(f"pictures in {folder}, all of them in {folder}/index.html")
  return 0


def _filled(lines: Sequence[str]) -> int:
  """Returns the number of lines that are not blank."""
  return sum(1 for line in lines if line.strip())


def _report_unknown(run: Run, texts: Sequence[str]) -> None:
  codec = run.codecs[0]
  if is_text(codec) and (line := describe_unknown(codec, texts)):
    say(line)


def _word_links(
  run: Run, texts: Sequence[str], results: Sequence[Sequence[Hypothesis]]
) -> Iterator[str]:
  """Returns the word alignments of all hypotheses, in order."""
  pairs = [
    (text, hypothesis.tokens)
    for text, hypotheses in zip(texts, results, strict=True)
    for hypothesis in hypotheses
  ]
  inputs, outputs = [text for text, _ in pairs], [tokens for _, tokens in pairs]
  alignments = run.attention(inputs, outputs, warn=False)
  return (pharaoh(alignment.word_links()) for alignment in alignments)


def _table(results: Sequence[Sequence[Hypothesis]], links: Iterator[str] | None) -> Iterator[str]:
  """Yields a TSV line for each hypothesis."""
  for number, hypotheses in enumerate(results, 1):
    for rank, best in enumerate(hypotheses, 1):
      scores = f"{best.score:.6f}\t{best.log_prob:.6f}"
      last = "" if links is None else f"\t{next(links)}"
      yield f"{number}\t{rank}\t{scores}\t{best.text.translate(BREAKS)}{last}\n"


def _stream(run: Run, texts: Sequence[str], target: TextIO) -> int:
  """Writes the output of each text while it is generated."""
  say("compiling")
  for number, text in enumerate(texts):
    try:
      for chunk in run.stream(text, number):
        target.write(chunk.translate(BREAKS))
        target.flush()
    finally:
      # After an interruption, too, the line is complete.
      target.write("\n")
  return 0
