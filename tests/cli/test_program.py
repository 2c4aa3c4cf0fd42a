"""Bad input: one line that says what is wrong, and nothing spent or lost."""

import contextlib
import gzip
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tomllib

import pytest
from support.tiny_run import contents, write_experiment

import tfx_jax
from tfx_jax.cli import train
from tfx_jax.cli.help import help_text
from tfx_jax.errors import UserError
from tfx_jax.main import main
from tfx_jax.runtime.allocator import KEPT_BUFFERS

ROOT = str(pathlib.Path(__file__).parent.parent.parent)
with open(f"{ROOT}/pyproject.toml", "rb") as project:
  ENTRY = tomllib.load(project)["project"]["scripts"]["tfx"]


@pytest.fixture
def no_training(monkeypatch):
  def fail(**_):
    raise AssertionError("training has begun")

  monkeypatch.setattr(train, "train_loop", fail)


@pytest.fixture
def experiment(tmp_path, no_training):
  """The argument of a tiny experiment, its data in the folder."""
  return write_experiment(tmp_path)


@contextlib.contextmanager
def disk_full_after(size):
  """No file grows beyond so many bytes."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refusal(capture, *arguments):
  """What is said of the arguments."""
  code = main([str(argument) for argument in arguments])
  out, err = capture.readouterr()
  *told, error = err.splitlines()
  assert (code, out) == (2, "") and error.startswith("error: ")
  phases = "workdir ", "loading ", "reading ", "making ", "train: ", "validation: "
  assert all(line.startswith((*phases, "the vocabulary has ")) for line in told)
  return error.removeprefix("error: ")


@pytest.mark.parametrize(
  ("arguments", "told"),
  [
    ([], "give --config=EXPERIMENT, or --workdir=DIR of a run"),
    (["--confg=x.py"], "unknown argument --confg=x.py, did you mean '--config'?"),
    (["--config=missing.py"], "--config=missing.py: there is no file missing.py"),
    (["train", "--config=missing.py"], "--config=missing.py: there is no file missing.py"),
    (["--workdir=missing"], "missing holds no run; give --config"),
    (["generate", "--workdir=missing"], "missing holds no run"),
    (["--workdir=missing", "--mode=generate"], "missing holds no run"),
    (["--workdir=missing", "--mode=evaluate"], "missing holds no run"),
    (["--workdir=w", "--mode=sweep", "--sweep.seed=1"], "--mode=sweep needs --config=EXPERIMENT"),
  ],
)
def test_arguments_that_mean_nothing(arguments, told, capfd, no_training):
  assert refusal(capfd, *arguments).startswith(told)


def test_help_is_a_result(capsys):
  assert main(["plan", "--help"]) == 0
  assert capsys.readouterr().out == help_text("plan") + "\n"


@pytest.fixture
def script(tmp_path):
  """The command `tfx` in a folder of its own, as pip installs it."""
  path = tmp_path / "bin" / "tfx"
  path.parent.mkdir()
  module, _, function = ENTRY.partition(":")
  lines = [f"#!{sys.executable}", "import sys", f"from {module} import {function}"]
  path.write_text("\n".join([*lines, f"sys.exit({function}())", ""]))
  path.chmod(0o755)
  return path


def test_the_installed_command_is_the_module(script, tmp_path):
  """It keeps buffers, finds code in the current folder, and runs what is supervised."""
  write_experiment(tmp_path)
  (tmp_path / "mine.py").write_text(
    "import os\nprint(os.environ.get('GLIBC_TUNABLES'), file=__import__('sys').stderr)\n"
    "def share(predictions, references):\n  return {'share': 50.0}\n"
  )
  environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC", "GLIBC"))}
  environment |= {"PYTHONPATH": ROOT}

  def run(command, *arguments):
    return subprocess.run(
      [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )

  prepare = ["--config=tiny.py", "--config.task.metrics=mine:share", "--config.data.test=missing"]
  by_script = run([script], "prepare", *prepare)
  by_module = run([sys.executable, "-m", "tfx_jax.main"], "--mode=prepare", *prepare)
  assert by_script.stderr == by_module.stderr and by_script.returncode == 2
  kept, error = by_script.stderr.splitlines()
  assert "no file missing" in error
  if "CS_GNU_LIBC_VERSION" in os.confstr_names:
    assert kept == KEPT_BUFFERS["GLIBC_TUNABLES"]
  supervised = run([script], "train", "--restarts=1", "--config=missing.py")
  assert supervised.returncode == 2
  assert supervised.stderr == "error: --config=missing.py: there is no file missing.py\n"


@pytest.mark.parametrize(
  ("option", "told"),
  [
    ("train.num_step=5", "--config.train.num_step: config.train has no key 'num_step', did you"),
    ("train.num_steps=five", "--config.train.num_steps=five is not of type int"),
    ("train.num_steps=0", "train.num_steps=0"),
    ("task.metrics=blue", "task.metrics='blue' is unknown, did you mean 'bleu'?"),
    ("task.metrics=json:nothing", "task.metrics='json:nothing': json has no class or function"),
    ("mesh.data=3", "mesh.data=3, mesh.fsdp=1, mesh.tensor=1, mesh.sequence=1, mesh.slices=1: the"),
    ("data.batch_size=12", "mesh.slices * mesh.data * mesh.fsdp=8 does not divide data.batch_size"),
    ("data.train=nowhere/train", "no file nowhere/train.en or nowhere/train.en.gz"),
    ("data.train=", "data.train is empty"),
    ("data.format=txt", "data.format='txt' is unknown, did you mean 'text'?"),
    ("data.format=jsonl", "no file "),
    ("task.target=fr", "no file "),
    ("tokenizer.kind=unigramm", "tokenizer.kind='unigramm' is unknown, did you mean 'unigram'?"),
    ("tokenizer.path=nowhere", "cannot read the tokenizer nowhere/"),
    ("data.source_length=1", "no pair is left of the 200 read: 0 with an empty side, 200 longer"),
  ],
)
def test_settings_that_mean_nothing(option, told, experiment, capfd, tmp_path):
  workdir = tmp_path / "run"
  assert refusal(capfd, experiment, f"--workdir={workdir}", f"--config.{option}").startswith(told)
  assert not (workdir / "checkpoints").exists() and not (workdir / "metrics.jsonl").exists()


def cut_gzip(folder):
  whole = gzip.compress((folder / "train.de").read_bytes())
  (folder / "train.de.gz").write_bytes(whole[: len(whole) // 2])
  (folder / "train.de").unlink()


def longer(folder):
  with open(folder / "train.en", "a") as file:
    file.write("one more\n")


def not_utf8(folder, split="train"):
  lines = (folder / f"{split}.de").read_bytes().split(b"\n")
  lines[6] = b"Stra\xdfe"
  (folder / f"{split}.de").write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
  ("spoil", "told"),
  [
    (lambda f: (f / "train.de").unlink(), ["no file ", "train.de"]),
    (lambda f: (f / "test.de").unlink(), ["no file ", "test.de"]),
    (lambda f: (f / "train.en").write_text(""), ["train.en is empty"]),
    (lambda f: (f / "train.en").write_text("\n" * 200), ["no pair is left of the 200 read: 200"]),
    (longer, ["equally many lines", "train.en has 201", "train.de has 200"]),
    (not_utf8, ["train.de, line 7: not UTF-8"]),
    (lambda f: not_utf8(f, "validation"), ["validation.de, line 7: not UTF-8"]),
    (lambda f: not_utf8(f, "test"), ["test.de, line 7: not UTF-8"]),
    (cut_gzip, ["train.de.gz is not a whole gzip file"]),
  ],
)
def test_data_that_is_spoilt(spoil, told, experiment, capfd, tmp_path):
  spoil(tmp_path)
  message = refusal(capfd, experiment, f"--workdir={tmp_path / 'run'}")
  assert all(part in message for part in told)


def test_an_experiment_that_is_wrong(experiment, capfd, tmp_path):
  path = tmp_path / "tiny.py"
  path.write_text(path.read_text().replace("num_steps", "num_step"))
  assert refusal(capfd, experiment).startswith(f"{experiment}: ")


def test_a_workdir_that_cannot_be(experiment, capfd, tmp_path):
  (tmp_path / "file").write_text("mine")
  for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
    told = refusal(capfd, experiment, f"--workdir={workdir}")
    assert told.startswith(f"cannot write to workdir {workdir}: ")
  assert (tmp_path / "file").read_text() == "mine"
  told = refusal(
    capfd, experiment, f"--workdir={tmp_path}/run", f"--config.data.cache_dir={tmp_path}/file"
  )
  assert told.startswith(f"cannot use data.cache_dir={tmp_path}/file")


@pytest.mark.parametrize(
  "option",
  ["mesh.data=3", "evaluate.split=dev", "train.microbatches=3", "train.num_steps=x", "seed=5"],
)
def test_a_run_is_not_touched_by_a_mistake(option, trained, no_training, capfd):
  before = contents(trained[1])
  assert option.split("=")[0] in refusal(
    capfd, trained[0], f"--workdir={trained[1]}", f"--config.{option}"
  )
  assert contents(trained[1]) == before


def test_inputs_and_outputs_that_cannot_be(trained, capfd, tmp_path):
  generate = [f"--workdir={trained[1]}", "--mode=generate"]
  path = tmp_path / "in"
  assert refusal(capfd, *generate, f"--input={path}") == (
    f"cannot read --input={path}: No such file or directory"
  )
  assert refusal(capfd, *generate, f"--input={tmp_path}").startswith("cannot read --input=")
  path.write_bytes(b"ab\n\ncd\nStra\xdfe\n")
  assert refusal(capfd, *generate, f"--input={path}").startswith(
    f"--input={path}, line 4: not UTF-8"
  )
  path.write_bytes(b"ab\n")
  for output in (tmp_path / "nowhere" / "out", tmp_path, path / "out"):
    told = refusal(capfd, *generate, f"--input={path}", f"--output={output}")
    assert told.startswith(f"cannot write --output={output}: ")
  told = refusal(capfd, *generate, f"--input={path}", f"--output={tmp_path / 'out'}",
                 "--config.generate.search=mbr", "--config.generate.num_return=33")  # fmt: skip
  assert told == "generate.num_return=33 is more than generate.num_samples=32"
  assert os.listdir(tmp_path) == ["in"]


def test_a_run_without_checkpoints(trained, capfd, tmp_path):
  shutil.copytree(trained[1], tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / "checkpoints")
  for mode in ("generate", "evaluate"):
    source = [f"--input={__file__}"] if mode == "generate" else []
    told = refusal(capfd, f"--workdir={tmp_path / 'run'}", f"--mode={mode}", *source)
    assert told == f"{tmp_path / 'run'} holds no checkpoints: train it first"


def test_a_run_that_cannot_be_read(capfd, tmp_path):
  (tmp_path / "config.json").write_text("{")
  told = refusal(capfd, f"--workdir={tmp_path}", "--mode=generate")
  assert told.startswith(f"cannot read {tmp_path}/config.json: ")


def test_a_full_disk(trained, experiment, capsys, tmp_path):
  run = f"--workdir={tmp_path / 'run'}"
  with disk_full_after(1000):
    told = refusal(capsys, experiment, run)
  assert told == f"cannot write to workdir {tmp_path / 'run'}: File too large"
  for side in ("en", "de"):
    path = tmp_path / f"train.{side}"
    path.write_text(5 * path.read_text())
  with disk_full_after(6000):
    told = refusal(capsys, experiment, run, f"--config.data.cache_dir={tmp_path / 'corpora'}")
  assert told == f"cannot use data.cache_dir={tmp_path / 'corpora'}: File too large"
  assert os.listdir(tmp_path / "corpora") == []

  (tmp_path / "in").write_text("ab\nb\n")
  (tmp_path / "out").write_text("of yesterday")
  files = [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
  main([f"--workdir={trained[1]}", "--mode=generate", *files[:1]])  # compiles with room to cache
  capsys.readouterr()
  with disk_full_after(1):
    code = main([f"--workdir={trained[1]}", "--mode=generate", *files])
  assert code == 2
  told = f"error: cannot write --output={tmp_path / 'out'}: File too large"
  assert capsys.readouterr().err.splitlines()[-1] == told
  assert (tmp_path / "out").read_text() == "of yesterday"
  assert not [name for name in os.listdir(tmp_path) if "unfinished" in name]


def test_warnings_are_lines_without_a_prefix():
  """In a process of its own: here pytest has handlers of its own."""
  program = (
    "from absl import logging; from tfx_jax.main import main; code = main(['--mode=x']); "
    "logging.warning('%d checkpoints', 5)"
  )
  told = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  ).stderr
  assert told.splitlines()[-1] == "5 checkpoints"


CODE = """open({marker!r}, "w").close()

def share(predictions, references):
  return {{"share": 50.0}}
"""


@pytest.fixture
def theirs(trained, tmp_path, monkeypatch):
  """A copy of the run that someone else has changed, and where their code leaves a trace."""
  marker = tmp_path / "it was run"
  (tmp_path / "their_code.py").write_text(CODE.format(marker=str(marker)))
  monkeypatch.syspath_prepend(str(tmp_path))
  shutil.copytree(trained[1], tmp_path / "theirs")
  yield str(tmp_path / "theirs"), marker
  sys.modules.pop("their_code", None)


def rewrite(workdir, section, key, value):
  """Changes a key of the configuration in a workdir."""
  path = os.path.join(workdir, "config.json")
  with open(path) as file:
    content = json.load(file)
  content["config"][section][key] = value
  with open(path, "w") as file:
    json.dump(content, file)


@pytest.mark.parametrize(
  "options",
  [
    ["--workdir=THEIRS"],
    *(["--workdir=THEIRS", f"--mode={mode}"] for mode in ("evaluate", "generate", "chat", "plan")),
    ["--workdir=DEFAULT", "--mode=evaluate", "--baseline=THEIRS"],
    ["--workdir=DEFAULT", "--mode=generate", "--config.generate.ensemble=THEIRS"],
    ["EXPERIMENT", "--workdir=NEW", "--config.train.init_from=THEIRS"],
    ["EXPERIMENT", "--workdir=NEW", "--config.train.init_from=THEIRS", "--mode=prepare"],
  ],
  ids=" ".join,
)
def test_a_folder_runs_no_code(options, theirs, trained, no_training, capfd, tmp_path):
  folder, marker = theirs
  for key in ("task.name", "data.format"):
    rewrite(folder, *key.split("."), "their_code:share")
  places = {"EXPERIMENT": trained[0], "DEFAULT": trained[1], "THEIRS": folder}
  places |= {"NEW": str(tmp_path / "new")}
  (tmp_path / "in").write_text("ab\n")
  before = contents(folder)
  for name, path in places.items():
    options = [option.replace(name, path) for option in options]
  source = [f"--input={tmp_path / 'in'}"] if "--mode=generate" in options else []
  told = refusal(capfd, *options, *source)
  assert f"{folder}/config.json names code to run, task.name='their_code:share'" in told
  assert not marker.exists() and not (tmp_path / "new").exists() and contents(folder) == before


def test_a_folder_deletes_nothing(theirs, capfd, tmp_path):
  folder, _ = theirs
  rewrite(folder, "data", "format", "shutil:rmtree")
  rewrite(folder, "data", "test", str(tmp_path / "theirs"))
  before = contents(folder)
  evaluate = [f"--workdir={folder}", "--mode=evaluate"]
  assert "--trust" in refusal(capfd, *evaluate)
  assert "cannot be called with (path, fields)" in refusal(capfd, *evaluate, "--trust")
  assert contents(folder) == before


def test_code_is_run_from_what_is_trusted(theirs, trained, no_training, capfd, monkeypatch):
  folder, marker = theirs
  rewrite(folder, "task", "metrics", ["their_code:share"])
  with pytest.raises(UserError, match=r"metrics='their_code:share'.*load\(\.\.\., trust=True"):
    tfx_jax.load(folder)
  # What the user gives in place of the folder's own is used alone.
  assert tfx_jax.load(folder, config=tfx_jax.load(trained[1]).config).step == 12
  prepare = [f"--workdir={folder}", "--mode=prepare"]
  assert "holds another run (task.metrics" in refusal(capfd, trained[0], *prepare)
  assert not marker.exists()
  assert main([*prepare, "--config.task.metrics=their_code:share"]) == 0
  assert marker.exists()
  monkeypatch.setattr("tfx_jax.cli.evaluate.draw_curves", lambda workdir: None)
  capfd.readouterr()
  assert main([f"--workdir={folder}", "--mode=evaluate", "--trust"]) == 0
  assert "share" in capfd.readouterr().out
  assert tfx_jax.load(folder, trust=True).step == 12
  with pytest.raises(UserError):  # that was trust in one call
    tfx_jax.load(folder)
