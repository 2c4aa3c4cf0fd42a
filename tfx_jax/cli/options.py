"""The options of the command line: what they are, and which modes take them."""

import argparse
import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfx_jax.config.experiment import experiments
from tfx_jax.errors import UserError, nearest

MODES = {
  "train": "Train a run, or resume it, and evaluate it on the test set at the end.",
  "evaluate": "Decode a split with a trained run and score the outputs.",
  "generate": "Generate an output for each line of a file or of standard input.",
  "export": "Write a trained model for other programs, such as transformers.",
  "chat": "Talk with a run that was trained on dialogues.",
  "demo": "Serve a web page to use a run with; it needs pip install 'tfx_jax[demo]'.",
  "prepare": "Make the tokenizer and the tokenized data ahead of training.",
  "sweep": "Train a run for each combination of some settings, and compare the results.",
  "plan": "Estimate memory and FLOPs of a training step; the devices need not be there.",
}
_TRAINING = ("train", "sweep")


def _option(
  default: Any, metavar: str, help: str, modes: Collection[str] = tuple(MODES), kind: type = str
) -> Any:
  """Declares an option of some modes; without `metavar` it takes no value."""
  metadata = {"metavar": metavar, "help": help, "modes": modes, "kind": kind}
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
  """Options of a command; each field has its help.

  Without a mode, `--help` is asked for alone. `overrides` and `sweeps` are pairs of a key and the
  text of its value, in the order given.
  """

  mode: str = ""
  help: bool = False
  config: str = _option(
    "", "NAME[:ARGUMENT]", "Experiment, by name or FILE.py; its get_config takes ARGUMENT."
  )
  workdir: str = _option(
    "", "DIR", "Folder of the run; by default runs/ and the experiment's name."
  )
  overrides: Sequence[tuple[str, str]] = _option(
    (), "config.KEY=VALUE", "Value of a key of the configuration, as in --config.seed=1."
  )
  sweeps: Sequence[tuple[str, str]] = _option(
    (), "sweep.KEY=VALUE,VALUE,…", "Values of a key to train with, each in a run.", ("sweep",)
  )
  input: str = _option(
    "-", "FILE", "Texts, or paths of pictures, one a line; - reads stdin.", ("generate",)
  )
  output: str = _option(
    "-",
    "FILE",
    "File, or - for stdout; for pictures and for export a new folder.",
    ("generate", "export"),
  )
  format: str = _option(
    "huggingface", "FORMAT", "huggingface, safetensors or adapters (of LoRA).", ("export",)
  )
  architecture: str = _option(
    "", "NAME", "Architecture of transformers; by default the first that fits.", ("export",)
  )
  host: str = _option(
    "127.0.0.1", "ADDRESS", "Address of the page; 0.0.0.0 lets other machines in.", ("demo",)
  )
  port: int = _option(7860, "N", "Port of the page; 0 takes a free one.", ("demo",), int)
  baseline: str = _option("", "DIR", "Workdir of another run to compare with.", ("evaluate",))
  devices: int | None = _option(None, "N", "Number of devices to plan for.", ("plan",), int)
  restarts: int | None = _option(
    None, "N", "Start a run again that dies or hangs, at most N times.", _TRAINING, int
  )
  silence: float | None = _option(
    None, "SECONDS", "End a run that makes no progress for so many seconds.", _TRAINING, float
  )
  trust: bool = _option(
    False, "", "Run code (package.module:Name) that a folder's config.json names."
  )
  coordinator: str = _option("", "HOST:PORT", "Address of process 0; auto asks the cluster.")
  processes: int | None = _option(None, "N", "Number of processes of the run.", kind=int)
  process: int | None = _option(None, "I", "Index of this process, from 0.", kind=int)


# Declarations by name of the option, those of pairs (--config.KEY) left out.
DECLARED: Mapping[str, Mapping[str, Any]] = {
  field.name: field.metadata for field in dataclasses.fields(Options) if field.metadata
}


def parse(arguments: Sequence[str]) -> Options:
  """Returns the options in the arguments of the command line.

  The mode is the first word, or `--mode`; without either it is train. A second word is the
  experiment, as if it were given by `--config`.

  Raises:
    UserError: for an unknown option, one that the mode does not take, or a value of another type.
  """
  words: list[str] = []
  pairs: dict[str, list[tuple[str, str]]] = {"overrides": [], "sweeps": []}
  for word in arguments:
    option, equals, value = word.partition("=")
    if option.startswith("--config."):
      pairs["overrides"].append((option.removeprefix("--config."), value if equals else "True"))
    elif option.startswith("--sweep."):
      pairs["sweeps"].append((option.removeprefix("--sweep."), value))
    else:
      words.append(word)
  given = vars(_parse_words(words))
  given |= {name: found for name, found in pairs.items() if found}
  options = Options(**given)
  if options.help:
    return options
  for name in given.keys() & DECLARED:
    modes = DECLARED[name]["modes"]
    if options.mode not in modes:
      shown = "--sweep.KEY" if name == "sweeps" else f"--{name}"
      raise UserError(f"{shown} needs --mode={' or '.join(modes)}")
  if not 0 <= options.port < 2**16:
    raise UserError(f"--port={options.port}: use 0 to {2**16 - 1}")
  if (options.restarts or 0) < 0:
    raise UserError(f"--restarts={options.restarts}: use 0 or more")
  if options.silence is not None and not 0 < options.silence < math.inf:
    raise UserError(f"--silence={options.silence}: use seconds above 0")
  return options


def _parse_words(words: Sequence[str]) -> argparse.Namespace:
  """Returns the options given; words before the first of them are the mode and the experiment."""
  parser = argparse.ArgumentParser(
    add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=argparse.SUPPRESS
  )
  parser.add_argument("-h", "--help", action="store_true")
  parser.add_argument("--mode")
  for name, option in DECLARED.items():
    if not option["metavar"]:
      parser.add_argument(f"--{name}", action="store_true")
    elif name not in ("overrides", "sweeps"):
      parser.add_argument(f"--{name}", type=option["kind"])
  first = list(itertools.takewhile(lambda word: not word.startswith("-"), words[:2]))
  try:
    options, unknown = parser.parse_known_args(words[len(first) :])
  except argparse.ArgumentError as error:
    raise UserError(str(error)) from error
  if unknown:
    known = [f"--{name}" for name in ("mode", "help", *DECLARED)]
    raise UserError(f"unknown argument {unknown[0]}{nearest(unknown[0].split('=')[0], known)}")
  for name, word in zip(("mode", "config"), first, strict=False):
    if getattr(options, name, word) != word:
      raise UserError(f"{word} and --{name}={getattr(options, name)} are both given: leave one out")
    setattr(options, name, word)
  if not hasattr(options, "mode"):
    options.mode = "" if hasattr(options, "help") else "train"
  if options.mode and options.mode not in MODES:
    if options.mode.partition(":")[0] in experiments():
      raise UserError(f"{options.mode} is an experiment, no mode: tfx train {options.mode}")
    raise UserError(f"there is no mode '{options.mode}'{nearest(options.mode, MODES)}")
  return options
