"""Launchers: the commands that they run, and formats that Slurm and Kubernetes read."""

import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from tfx_jax.cli.options import parse
from tfx_jax.sweep.grid import split_values

LAUNCH = pathlib.Path(__file__).parent.parent.parent / "launch"
SCRIPTS = ["tpu_vm.sh", "slurm.sbatch", "sweep.sh"]
TPU = ["--name=me", "--zone=us-west4-a", "--dry-run"]

# Options of sbatch(1) that a job for several GPU nodes may use, and what their values look like.
SBATCH = {
  "job-name": r"\w+",
  "nodes": r"\d+",
  "ntasks-per-node": r"\d+",
  "gpus-per-node": r"\d+",
  "cpus-per-task": r"\d+",
  "time": r"\d\d:\d\d:\d\d",
  "signal": r"TERM@\d+",  # B: would send it to the script alone
  "requeue": "",
  "open-mode": "append",
  "output": r"[\w%.-]+",
}
# The fields of jobset.x-k8s.io/v1alpha2, batch/v1 and v1 that are used, by the kind they are of:
# those that must be there, and others.
FIELDS = {
  "JobSet": ({"apiVersion", "kind", "metadata", "spec"}, set()),
  "JobSetSpec": ({"replicatedJobs"}, {"failurePolicy", "network", "successPolicy", "suspend"}),
  "FailurePolicy": (set(), {"maxRestarts", "rules", "restartStrategy"}),
  "FailurePolicyRule": ({"action"}, {"name", "onJobFailureReasons", "targetReplicatedJobs"}),
  "ReplicatedJob": ({"name", "template"}, {"replicas", "dependsOn", "groupName"}),
  "JobSpec": (
    {"template", "parallelism", "completions", "backoffLimit"},
    {"completionMode", "podFailurePolicy"},
  ),
  "PodSpec": (
    {"containers", "restartPolicy"},
    {"nodeSelector", "terminationGracePeriodSeconds", "volumes"},
  ),
  "Container": (
    {"name", "image", "command", "args", "resources", "volumeMounts"},
    {"env", "ports"},
  ),
}


def dry_run(script, *arguments, code=0):
  """Returns the words of each command that would be run."""
  done = subprocess.run(
    ["bash", str(LAUNCH / script), *arguments], capture_output=True, text=True, timeout=120
  )
  assert done.returncode == code, done.stderr
  return done.stderr if code else [shlex.split(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_scripts_are_clean():
  done = subprocess.run(
    ["shellcheck", *(str(LAUNCH / name) for name in SCRIPTS)], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout


def test_every_script_is_executable_and_every_file_is_tested():
  assert all((LAUNCH / name).stat().st_mode & 0o100 for name in SCRIPTS)
  names = {path.name for path in LAUNCH.iterdir()}
  assert names == {*SCRIPTS, "jobset_gpu.yaml", "jobset_tpu.yaml"}


def directives():
  """{option: value} of the lines for sbatch, which end at the first command."""
  found = {}
  for line in (LAUNCH / "slurm.sbatch").read_text().splitlines():
    if line.startswith("#SBATCH "):
      option, _, value = line.removeprefix("#SBATCH --").partition("=")
      found[option] = value
    elif line and not line.startswith("#"):
      break
  return found


def test_sbatch_reads_every_directive():
  found = directives()
  assert found.keys() <= SBATCH.keys()
  for option, value in found.items():
    assert re.fullmatch(SBATCH[option], value), option
  # JAX gives each task of a step the GPU of its number on the node.
  assert found["ntasks-per-node"] == found["gpus-per-node"]
  assert len((LAUNCH / "slurm.sbatch").read_text().split("#SBATCH --")) - 1 == len(found)


def test_a_slurm_job_runs_a_task_for_each_gpu():
  ((command, *words),) = dry_run("slurm.sbatch", "--dry-run", "--config=a b.py", "--workdir=w")
  assert command == "srun"
  assert words[-5:-2] == ["python", "-m", "tfx_jax.main"]
  assert parse(words[-2:]).config == "a b.py"


def test_a_tpu_vm_is_created_run_on_and_deleted():
  (words,) = dry_run("tpu_vm.sh", "create", *TPU, "--spot", "--project=p", "--accelerator=v4-16")
  assert words[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "me"]
  assert {*words[6:]} == {
    "--node-id=me",
    "--zone=us-west4-a",
    "--accelerator-type=v4-16",
    "--runtime-version=v2-alpha-tpuv5-lite",
    "--spot",
    "--project=p",
  }
  (words,) = dry_run("tpu_vm.sh", "delete", *TPU)
  assert words[4:] == ["delete", "me", "--zone=us-west4-a", "--force", "--quiet"]
  (words,) = dry_run("tpu_vm.sh", "run", *TPU, "--", "--config=a b.py", "--workdir=/m/w")
  assert words[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "me"]
  assert "--worker=all" in words
  remote = shlex.split(words[-1].removeprefix("--command="))
  options = parse(remote[remote.index("tfx_jax.main") + 1 :])
  assert (options.coordinator, options.config, options.workdir) == ("auto", "a b.py", "/m/w")


def test_watching_a_tpu_vm_does_all_of_it_again():
  commands = dry_run("tpu_vm.sh", "watch", *TPU, "--setup=mount.sh", "--", "--config=x.py")
  steps = [words[4] if words[0] == "gcloud" else words[0] for words in commands]
  assert steps == ["create", "git", "scp", "scp", "ssh", "ssh", "ssh", "#", "delete"]


@pytest.mark.parametrize(
  ("script", "arguments", "message"),
  [
    ("tpu_vm.sh", [], "the first argument must be create, setup, run, watch or delete"),
    ("tpu_vm.sh", ["create", "--zone=z"], "--name=NAME is missing"),
    ("tpu_vm.sh", ["create", "--name=n"], "--zone=ZONE is missing"),
    ("tpu_vm.sh", ["create", *TPU, "--spott"], "unknown option --spott"),
    ("tpu_vm.sh", ["run", *TPU], "run needs -- ARGUMENT"),
    ("sweep.sh", ["--workdir=w", "--sweep.seed=0"], "--launch=COMMAND is missing"),
    ("sweep.sh", ["--launch=echo", "--sweep.seed=0"], "--workdir=DIR is missing"),
    ("sweep.sh", ["--launch=echo", "--workdir=w"], "--sweep.KEY=VALUE,VALUE,… is missing"),
  ],
)
def test_a_missing_option_is_one_line(script, arguments, message):
  assert dry_run(script, *arguments, code=2).startswith(f"error: {message}")


def test_a_sweep_launches_every_combination_in_its_own_folder():
  lists = {"task.metrics": "(bleu,chrf),(chrf)", "seed": "0,1,2"}
  sweeps = [f"--sweep.{key}={values}" for key, values in lists.items()]
  launch = ["--launch=sbatch -N 2 slurm.sbatch", "--workdir=runs/w", "--config=x.py"]
  commands = dry_run("sweep.sh", "--dry-run", *launch, *sweeps)
  found = []
  for words in commands:
    assert words[:4] == ["sbatch", "-N", "2", "slurm.sbatch"]
    options = parse(words[4:])
    name = ",".join(f"{key}={value}" for key, value in options.overrides)
    assert (options.config, options.workdir) == ("x.py", f"runs/w/{name}")
    found.append(tuple(value for _, value in options.overrides))
  expected = [split_values(values) for values in lists.values()]
  assert found == [(a, b) for a in expected[0] for b in expected[1]]


def checked(kind, found):
  """What is found, once its fields are those of its kind."""
  required, more = FIELDS[kind]
  assert required <= found.keys() <= required | more, kind
  return found


@pytest.mark.parametrize("name", ["jobset_gpu.yaml", "jobset_tpu.yaml"])
def test_a_jobset_follows_its_api(name):
  jobset = checked("JobSet", yaml.safe_load((LAUNCH / name).read_text()))
  assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
  spec = checked("JobSetSpec", jobset["spec"])
  for rule in checked("FailurePolicy", spec["failurePolicy"])["rules"]:
    assert checked("FailurePolicyRule", rule)["action"] == "FailJobSet"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
  (replicated,) = spec["replicatedJobs"]
  job = checked("JobSpec", checked("ReplicatedJob", replicated)["template"]["spec"])
  # All at once or not at all, each with a number.
  assert job["parallelism"] == job["completions"] > 1
  assert (job["completionMode"], job["backoffLimit"]) == ("Indexed", 0)
  pod = checked("PodSpec", job["template"]["spec"])
  assert pod["restartPolicy"] == "Never"  # else it could have no podFailurePolicy
  (container,) = pod["containers"]
  checked("Container", container)
  (rule,) = job["podFailurePolicy"]["rules"]
  assert rule["onExitCodes"]["containerName"] == container["name"]
  volumes = {volume["name"] for volume in pod["volumes"]}
  assert {mount["name"] for mount in container["volumeMounts"]} == volumes

  values = {variable["name"]: variable.get("value", "0") for variable in container.get("env", [])}
  words = [re.sub(r"\$\((\w+)\)", lambda m: values[m[1]], word) for word in container["args"]]
  options = parse(words)
  if name == "jobset_gpu.yaml":
    host = f"{jobset['metadata']['name']}-{replicated['name']}-0-0.{jobset['metadata']['name']}"
    port = container["ports"][0]["containerPort"]
    assert options.coordinator == f"{host}:{port}"
    assert options.processes == job["completions"] * replicated["replicas"]
    assert options.process == 0
  else:
    assert options.coordinator == "auto"
    assert dict(options.overrides)["mesh.slices"] == str(replicated["replicas"])
    assert "google.com/tpu" in container["resources"]["limits"]
