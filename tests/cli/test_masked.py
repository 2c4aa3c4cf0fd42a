"""A masked model from the command line: trained, tested, used."""

import pytest
from support.tiny_run import read_log, write_experiment

import tfx_jax
from tfx_jax.errors import UserError
from tfx_jax.main import main


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("masked")
  experiment, workdir = write_experiment(folder), folder / "run"
  changes = ["--config.model.architecture=masked", "--config.train.decode_every=12"]
  assert main([experiment, f"--workdir={workdir}", *changes]) == 0
  return workdir


def test_its_loss_is_reported_by_token_alone(workdir):
  *_, last = read_log(workdir)
  assert last["split"] == "test" and last["loss"] > 0
  assert not {"bits_per_byte", "word_perplexity"} & {*last}


def test_the_command_line_and_python_write_the_same(workdir, tmp_path):
  lines = ["abc de", "", "f"]
  (tmp_path / "in").write_text("\n".join(lines) + "\n")
  command = ["--mode=generate", f"--workdir={workdir}", f"--input={tmp_path}/in"]
  assert main([*command, f"--output={tmp_path}/out"]) == 0
  run = tfx_jax.load(str(workdir))
  outputs = [best.text for (best, *_) in run.generate(lines)]
  assert (tmp_path / "out").read_text().splitlines() == outputs and outputs[1] == ""
  with pytest.raises(UserError, match=r"score: .*masked.* has no likelihood"):
    run.score(["abc"], ["CBA"])
  with pytest.raises(UserError, match="masked"):
    run.export(str(tmp_path / "exported"))


def test_what_does_not_go_with_it_is_named(workdir, tmp_path, capsys):
  (tmp_path / "in").write_text("abc\n")
  command = ["--mode=generate", f"--workdir={workdir}", f"--input={tmp_path}/in"]
  for change in ("generate.no_repeat_ngram_size=2", "generate.alignments=True"):
    capsys.readouterr()
    assert main([*command, f"--config.{change}"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert change.partition("=")[0] in line and "masked" in line
