import io

import pytest
from support.tiny_run import write_dialogues, write_experiment

from tfx_jax import load
from tfx_jax.cli.chat import chat, typed
from tfx_jax.errors import UserError
from tfx_jax.main import main

SETTINGS = {
  "task.name": "dialogue",
  "task.source": "dialogue",
  "task.metrics": "length",
  "task.detokenize": False,
  "data.long_sources": "cut_start",
  "generate.beam_size": 1,
  "generate.max_source_length": 24,
  "generate.max_length_ratio": 0.0,
  "train.num_steps": 4,
}


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
  """A run of a tiny model of dialogues, and its workdir."""
  folder = tmp_path_factory.mktemp("talker")
  experiment, workdir = write_experiment(folder), str(folder / "run")
  write_dialogues(folder)
  options = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
  assert main([experiment, f"--workdir={workdir}", *options]) == 0
  return load(workdir), workdir


def talk(talker, turns, **changes):
  """The lines that are answered, and what else is said."""
  run, workdir = talker
  config = run.config.copy_and_resolve_references()
  config.generate.update(changes)
  target = io.StringIO()
  assert chat(config, workdir, iter(turns), target) == 0
  return target.getvalue().split("\n")[:-1]


def test_a_terminal_is_asked_where_answers_do_not_go(monkeypatch, capsys):
  terminal = io.StringIO("abc \nfed\n")
  terminal.isatty = lambda: True
  monkeypatch.setattr("sys.stdin", terminal)
  assert list(typed()) == ["abc", "fed"]
  assert capsys.readouterr() == ("", "> > > \n")


def test_answers_are_what_is_generated_from_all_turns(talker):
  first, second = talk(talker, ["abc", "", "fed"])
  run = talker[0]
  ((best,),) = run.generate(["<1> abc <2>"])
  assert first.strip() == best.text.strip()
  heard = f" <2> {first.strip()}" if first.strip() else ""
  history = f"<1> abc{heard} <1> fed <2>" if heard else "<1> abc fed <2>"
  assert second.strip() == run.generate([history])[0][0].text.strip()


@pytest.mark.parametrize("search", [{"beam_size": 2}, {"search": "mbr", "num_samples": 2}])
def test_what_cannot_be_streamed_comes_at_once(talker, search):
  (answer,) = talk(talker, ["abc"], **search)
  assert answer == talker[0].generate(["<1> abc <2>"], **search)[0][0].text


def test_commands(talker, capsys):
  lines = talk(talker, ["abc", "/reset", "abc", "/rest", "/quit", "abc"])
  assert len(lines) == 2 and lines[0] == lines[1]
  told = capsys.readouterr().err
  assert "(forgotten)" in told and "/rest is no command: /reset forgets" in told


def test_a_history_that_is_too_long_is_forgotten_and_told(talker, capsys):
  turns = ["abcdef abcdef"] * 3
  assert len(talk(talker, turns)) == 3
  assert "turn(s) of what I remembered no longer fit" in capsys.readouterr().err


def test_an_interrupt_stops_an_answer_and_the_talk_goes_on(talker, capsys, monkeypatch):
  def interrupted(run, text, number, **settings):
    yield "ab"
    raise KeyboardInterrupt

  monkeypatch.setattr(type(talker[0]), "stream", interrupted)
  assert talk(talker, ["abc", "d"]) == ["ab", "ab"]
  assert capsys.readouterr().err.count("(stopped)") == 2


def test_it_reads_a_pipe(talker, capsys, monkeypatch):
  stdin = io.TextIOWrapper(io.BytesIO(b"abc\n/quit\n"))
  monkeypatch.setattr("sys.stdin", stdin)
  assert main([f"--workdir={talker[1]}", "--mode=chat"]) == 0
  out, err = capsys.readouterr()
  assert out.count("\n") == 1 and "/quit ends" in err


def test_it_needs_a_task_of_dialogues(trained):
  run = load(trained[1])
  with pytest.raises(UserError, match=r"needs a run of .*'dialogue', not 'translate'"):
    chat(run.config, trained[1], [], io.StringIO())
