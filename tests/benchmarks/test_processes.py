import json
import pathlib

import calls
import processes
import pytest
import rounds
from first_outputs import Timed
from systems import trained


def python(code, **settings):
  environment = processes.environment(**settings)
  return processes.Process("it", ["-c", code], environment).run(1)


COMPILING = """
import os, jax
jax.config.update("jax_compilation_cache_dir", os.environ["TFX_JAX_CACHE"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x + 1)(1.0)
"""


def test_programs_from_the_disk_are_needed_but_not_compiled(tmp_path):
  first, second = (
    processes.programs(python(COMPILING, cache=str(tmp_path))["stderr"]) for _ in range(2)
  )
  assert first["programs"] == second["programs"] == first["programs_compiled"] > 0
  assert second["programs_compiled"] == 0
  assert first["compile_seconds"] > 0


def test_only_a_cache_of_its_own_makes_a_process_log_what_it_compiles(monkeypatch):
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
  own, plain = processes.environment(cache="here"), processes.environment()
  assert own["TFX_JAX_CACHE"] == "here" and "JAX_COMPILATION_CACHE_DIR" not in own
  assert processes.LOG.items() <= own.items() and not processes.LOG.items() <= plain.items()


def test_a_process_that_fails_is_reported_with_its_messages():
  with pytest.raises(rounds.Failed, match=r"ended with 3:\nsaid before"):
    python("import sys; print('said before', file=sys.stderr); sys.exit(3)")


def test_preparation_is_not_measured(tmp_path):
  path = tmp_path / "state"
  code = f"import time; time.sleep(0.05); print(open({str(path)!r}).read())"
  process = processes.Process(
    "it", ["-c", code], processes.environment(), lambda: path.write_text("clear")
  )
  found = process.run(1)
  assert found["stdout"].strip() == "clear" and found["seconds"] >= 0.05


def test_calls_are_timed_one_by_one(tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]))
  one, two, output = (tmp_path / name for name in ("one", "two", "output"))
  one.write_text("abc\n")
  two.write_text("de\nfg\n")
  words = ["support.fake_system:open_reversing", json.dumps({"sign": "-"}), output, one, two, one]
  command = [calls.__file__, *map(str, words)]
  found = processes.Process("it", command, processes.environment()).run(1)
  taken = processes.last_line(found)["seconds"]
  assert len(taken) == 4 and 0 < sum(taken) < found["seconds"]
  assert found["stderr"].count(calls.MARK) == 4
  assert output.read_text() == "-cba\n"


def test_a_cold_run_is_as_training_left_it(tmp_path):
  origin, folder = tmp_path / "origin", tmp_path / "folder"
  (origin / "checkpoints").mkdir(parents=True)
  (origin / "checkpoints" / "weights").write_text("trained")
  timed = Timed(str(origin), str(folder), beam=1, lines=1, openers={})
  timed.clear()
  (folder / "run" / "average.npz").write_text("kept by a process")
  (folder / "cache").mkdir()
  timed.clear()
  left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
  assert left == ["run", "run/checkpoints", "run/checkpoints/weights"]


def test_batches_hold_each_item_once_and_similar_lengths():
  items = ["a" * length for length in (3, 1, 4, 1, 5, 9, 2)]
  found = trained.batches(items, 3)
  assert sorted(i for batch in found for i in batch) == list(range(len(items)))
  assert [[len(items[i]) for i in batch] for batch in found] == [[1, 1, 2], [3, 4, 5], [9]]


def test_rounds_of_a_trained_system_hold_the_whole_set(tmp_path):
  (tmp_path / "texts.txt").write_text("abc\nde\n")
  run, facts = trained.make("support.fake_system:open_reversing", str(tmp_path), sign="+")
  assert facts == {"sign": "+"}
  assert run(0) == run(1)
  assert run(0) == {"output_tokens": 5, "lengths": (3, 2), "outputs": ("+cba", "+ed")}
