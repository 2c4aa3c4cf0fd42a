import os
import pathlib
import subprocess
import sys

import pytest
import rounds


@pytest.fixture(autouse=True)
def fakes_are_found(monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]), prepend=os.pathsep)


def fake(function="make", **arguments):
  return {"name": function, "target": f"support.fake_system:{function}", "arguments": arguments}


def test_systems_take_turns_and_the_first_round_does_not_count(tmp_path):
  log = str(tmp_path / "log")
  specifications = [fake(begin=10, log=log) | {"name": "a"}, fake(begin=20, log=log)]
  with rounds.children(specifications) as systems:
    figures = rounds.interleave(systems, 2)
  assert {name: [f["value"] for f in each] for name, each in figures.items()} == {
    "a": [11, 12],
    "make": [21, 22],
  }
  turns = [f"{begin} {number}" for number in range(3) for begin in (10, 20)]
  expected = [f"{turn} {what}" for turn in turns for what in ("begins", "ends")]
  assert (tmp_path / "log").read_text().splitlines() == expected
  times = figures["a"][0]
  assert times["round"] == 1 and times["seconds"] >= 0.01
  # It slept: nearly none of the time was a processor's.
  assert 0 <= times["processor_seconds"] < times["seconds"]


class Counting:
  name = "counting"

  def run(self, number):
    return {"number": number}


@pytest.mark.parametrize("warm_up", [True, False])
def test_as_many_rounds_count_as_are_asked_for(warm_up, monkeypatch):
  monkeypatch.setattr(rounds, "PAUSE", 0)
  found = rounds.interleave([Counting()], 2, warm_up)
  assert found == {"counting": [{"number": 1}, {"number": 2}]}


def test_the_time_of_a_process_counts_as_one_s_own():
  busy = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"]
  found = rounds.measured(lambda number: {"code": subprocess.run(busy).returncode}, 1)
  assert found["code"] == 0 and found["processor_seconds"] >= 0.3


def test_a_child_has_so_many_processors_and_settings_of_its_own(tmp_path, monkeypatch):
  monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
  settings = {"threads": 1, "environment": {}}
  with rounds.children([fake(begin=0) | settings]) as (system,):
    facts = system.facts
  assert facts["processors"] == rounds.processors()[:1]
  assert facts["threads"] == "1" and facts["malloc"] is None
  with rounds.children([fake(begin=0) | {"environment": rounds.MALLOC}]) as (system,):
    assert system.facts["malloc"] == "0"


def test_more_threads_than_processors_are_refused():
  with pytest.raises(rounds.Failed, match="--threads=1000: this process may use"):
    rounds.children([fake(begin=0) | {"threads": 1000}]).__enter__()


@pytest.mark.parametrize(
  ("function", "message"),
  [
    ("make_broken", "round 0 is broken"),
    ("make_dying", "ended with 3\nsaid before it died"),
    ("make_nothing", "not to be made"),
    ("make_unknown", "has no attribute 'make_unknown'"),
  ],
)
def test_an_error_in_a_child_is_reported(function, message):
  with pytest.raises(rounds.Failed, match=f"^{function}: ") as raised:
    with rounds.children([fake(function, begin=0)]) as systems:
      rounds.interleave(systems, 1)
  assert message in str(raised.value)


def test_no_child_is_left_when_one_cannot_start(tmp_path):
  started = []

  class Recorded(rounds.Child):
    def __init__(self, **arguments):
      super().__init__(**arguments)
      started.append(self)

  with pytest.MonkeyPatch.context() as patch, pytest.raises(rounds.Failed):
    patch.setattr(rounds, "Child", Recorded)
    rounds.children([fake(begin=0), fake("make_nothing", begin=0)]).__enter__()
  (first,) = started
  assert first._process.poll() is not None
