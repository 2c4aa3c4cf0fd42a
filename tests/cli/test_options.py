"""Options: one that a mode does not take is an error, and each is in the help of its modes."""

import pytest

from tfx_jax.cli import modes
from tfx_jax.cli.help import BEGINNING, help_text
from tfx_jax.cli.options import DECLARED, MODES, Options, parse
from tfx_jax.config.experiment import experiments, summary
from tfx_jax.errors import UserError


@pytest.mark.parametrize(
  ("arguments", "options"),
  [
    ([], Options(mode="train")),
    (["--help"], Options(help=True)),
    (["generate", "-h"], Options(mode="generate", help=True)),
    (["--mode=generate"], Options(mode="generate")),
    (["plan", "--devices=8"], Options(mode="plan", devices=8)),
    (["--devices", "8", "--mode", "plan"], Options(mode="plan", devices=8)),
    (["evaluate", "--mode=evaluate", "--trust"], Options(mode="evaluate", trust=True)),
    (
      ["--config=a.py", "--config.b.c=d=e", "--config.f"],
      Options(mode="train", config="a.py", overrides=[("b.c", "d=e"), ("f", "True")]),
    ),
    (["train", "wmt:big", "--workdir=w"], Options(mode="train", config="wmt:big", workdir="w")),
    (["plan", "a.py", "--config=a.py"], Options(mode="plan", config="a.py")),
    (["sweep", "--sweep.seed=1,2"], Options(mode="sweep", sweeps=[("seed", "1,2")])),
  ],
)
def test_the_mode_is_the_first_word_or_an_option(arguments, options):
  assert parse(arguments) == options


@pytest.mark.parametrize(
  ("arguments", "told"),
  [
    (["--confg=x.py"], "unknown argument --confg=x.py, did you mean '--config'?"),
    (["--workdir=w", "extra"], "unknown argument extra"),
    (["--workdir"], "argument --workdir: expected one argument"),
    (["--workdir=w", "--mode=evaluate", "--restarts=1"], "--restarts needs --mode=train or sweep"),
    (["chat", "--workdir=w", "--silence=9"], "--silence needs --mode=train or sweep"),
    (["--workdir=w", "--restarts=-1"], "--restarts=-1: use 0 or more"),
    (["--workdir=w", "--silence=0"], "--silence=0.0: use seconds above 0"),
    (["--workdir=w", "--silence=nan"], "--silence=nan: use seconds above 0"),
    (["--workdir=w", "--silence=inf"], "--silence=inf: use seconds above 0"),
    (["--workdir=w", "--restarts=x"], "argument --restarts: invalid int value: 'x'"),
    (["--workdir=w", "--mode=eval"], "there is no mode 'eval', did you mean 'evaluate'?"),
    (["generat", "--workdir=w"], "there is no mode 'generat', did you mean 'generate'?"),
    (
      ["quickstart:en-fr"],
      "quickstart:en-fr is an experiment, no mode: tfx train quickstart:en-fr",
    ),
    (["train", "wmt", "--config=xsum"], "wmt and --config=xsum are both given: leave one out"),
    (["train", "wmt", "xsum"], "unknown argument xsum"),
    (["evaluate", "--mode=train"], "evaluate and --mode=train are both given: leave one out"),
    (["--workdir=w", "--baselin=v"], "unknown argument --baselin=v, did you mean '--baseline'?"),
    (["--workdir=w", "--baseline=v"], "--baseline needs --mode=evaluate"),
    (["--workdir=w", "--input=-"], "--input needs --mode=generate"),
    (["train", "--output=f"], "--output needs --mode=generate or export"),
    (["demo", "--workdir=w", "--port=65536"], "--port=65536: use 0 to 65535"),
    (["chat", "--workdir=w", "--host=::1"], "--host needs --mode=demo"),
    (["train", "--devices=4"], "--devices needs --mode=plan"),
    (["--workdir=w", "--sweep.seed=1"], "--sweep.KEY needs --mode=sweep"),
    (["--workdir=w", "--processes=two"], "argument --processes: invalid int value: 'two'"),
    (["--workdir=w", "--proces=0"], "unknown argument --proces=0, did you mean '--process'?"),
  ],
)
def test_an_option_that_means_nothing_is_one_line(arguments, told):
  with pytest.raises(UserError) as info:
    parse(arguments)
  assert str(info.value) == told or str(info.value).startswith(f"{told}; known: ")


@pytest.mark.parametrize("mode", MODES)
def test_the_help_of_a_mode_lists_what_it_takes(mode):
  shown = help_text(mode)
  for name, option in DECLARED.items():
    assert (option["help"] in shown) == (mode in option["modes"]), name
  assert max(map(len, shown.splitlines())) <= 100
  assert shown.splitlines()[2] in help_text()


@pytest.mark.parametrize("mode", ["", *BEGINNING])
def test_the_help_of_what_begins_with_an_experiment_lists_them_whole(mode):
  lines = help_text(mode).splitlines()
  for name, path in experiments().items():
    (line,) = [line for line in lines if line.startswith(f"  {name} ")]
    assert line.endswith(summary(path).replace("`", "")) and len(line) <= 100


def test_every_mode_has_a_command():
  assert modes.MODES.keys() == MODES.keys()
