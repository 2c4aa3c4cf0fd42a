# %% [markdown]
# # Scale: meshes, plans, TPU VMs
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tfx-jax/tfx_jax/blob/main/notebooks/scale_on_tpu.ipynb)
#
# The same run on one device or on many: the configuration says how the batch and the parameters are
# split over a mesh of devices. Without several devices this notebook makes four of the CPU, so that
# everything can be tried here. It was made on such a CPU; nothing in it has been run on a TPU.

# %%
import os

# Four devices on a CPU; without effect on a GPU or TPU. JAX reads it when it starts.
flags = os.environ.get("XLA_FLAGS", "")
if "device_count" not in flags:
  os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=4"

# %%
# Install tfx_jax where it is missing, from this clone or from GitHub; the installed jax is kept.
import importlib.metadata
import pathlib
import subprocess
import sys

EXTRAS = ""

installed = {x.name: x.version for x in importlib.metadata.distributions()}
if "tfx_jax" not in installed:
  clone = pathlib.Path.cwd().parent
  if (clone / "tfx_jax" / "main.py").exists():
    sys.path.insert(0, str(clone))
    wanted = ["-e", f"{clone}{EXTRAS}"]
  else:
    wanted = [f"tfx_jax{EXTRAS} @ git+https://github.com/tfx-jax/tfx_jax"]
  kept = [f"{x}=={v}" for x, v in installed.items() if str(x).startswith(("jax", "libtpu"))]
  pathlib.Path("kept.txt").write_text("\n".join(kept))
  subprocess.run(
    [sys.executable, "-m", "pip", "install", "-q", "-c", "kept.txt", *wanted], check=True
  )

import jax

import tfx_jax

print(f"Python {sys.version.split()[0]}, jax {jax.__version__}, tfx_jax {tfx_jax.__version__}")
print(f"{jax.device_count()} {jax.default_backend()} device(s)")

# %% [markdown]
# ## A mesh
#
# `config.mesh` has the number of devices along each axis: `data` splits the batch, `fsdp` the batch
# and the parameters, `tensor` heads, feed-forward units and the vocabulary, `sequence` rows along
# their length, `slices` the batch over a slower network. `-1` takes what is left.

# %%
from tfx_jax.config import base

STEPS = int(os.environ.get("TFX_JAX_NOTEBOOK_STEPS", 100))
DEVICES = jax.device_count()


def experiment(**mesh):
  config = base()
  config.task.metrics = ("chrf",)
  config.data.update(
    format="cldr", train="train", validation="validation", test="test", batch_size=32
  )
  config.tokenizer.update(vocab_size=1000, normalization="identity")
  config.model.update(
    features=64, num_heads=4, encoder_layers=2, decoder_layers=2, feed_forward=256, dropout=0.1
  )
  config.optimizer.update(learning_rate=4e-3, warmup_steps=20)
  config.train.update(
    num_steps=STEPS, log_every=5, eval_every=25, decode_every=25, decode_examples=100
  )
  config.generate.update(beam_size=1, max_source_length=64, max_length=16, batch_size=64)
  config.evaluate.num_samples = 2
  config.mesh.update(mesh)
  return config


mesh = {"fsdp": 2, "tensor": 2} if DEVICES % 4 == 0 else {}
run = tfx_jax.train(experiment(**mesh), "runs/mesh")

# %% [markdown]
# Each device holds a part of a matrix, and the optimizer's moments are split like it.

# %%
kernel = run.params["decoder_stack"]["layers"]["stacked"]["mlp"]["up"]["kernel"]
print(kernel.shape, kernel.sharding.spec, "a device holds", kernel.addressable_shards[0].data.shape)
jax.debug.visualize_array_sharding(kernel[0])

# %% [markdown]
# A mesh that does not fit is one line, before anything starts.

# %%
from tfx_jax.errors import UserError

try:
  tfx_jax.train(experiment(tensor=2 * DEVICES), "runs/other")
except UserError as error:
  print(error)

# %% [markdown]
# The mesh may change between sessions. The checkpoint of the run above is opened here on another
# one.

# %%
config = run.config.copy_and_resolve_references()
config.mesh.update(fsdp=1, tensor=1, data=-1)
again = tfx_jax.load("runs/mesh", config=config)
texts = ["3 days and 2 hours"]
targets = ["3 Tage und 2 Stunden"]
print(run.score(texts, targets), again.score(texts, targets))

# %% [markdown]
# ## Plan before you pay
#
# `tfx_jax.plan` (`tfx plan`) says what a training step needs on devices that are not here. It reads
# no data: the big Transformer of Vaswani et al. on 16 devices, its parameters split over four.

# %%
big = tfx_jax.experiment("wmt:wmt17,big")
big.data.batch_size = 128  # rows, which the devices have to divide
big.model.scan_layers = True
big.mesh.fsdp = 4
tfx_jax.plan(big, devices=16)

# %% [markdown]
# ## On a TPU VM
#
# `launch/tpu_vm.sh` in the repository requests a TPU as a queued resource, copies the sources, runs
# on all workers, and deletes the TPU. `watch` does so again whenever a spot TPU is preempted, until
# the run has ended: it resumes from its last checkpoint, so the workdir must be on storage that
# outlives the machine. `--dry-run` prints the commands of `gcloud`, and needs no account.

# %%
clone = pathlib.Path("..")
if not (clone / "launch").exists():
  clone = pathlib.Path("clone")
  address = "https://github.com/tfx-jax/tfx_jax"
  subprocess.run(["git", "clone", "-q", "--depth=1", address, str(clone)], check=True)

command = [
  *("bash", f"{clone}/launch/tpu_vm.sh", "watch", "--dry-run"),
  *("--name=big", "--zone=us-west4-a", "--accelerator=v5litepod-16", "--spot"),
  *("--setup=mount.sh", "--", "--config=experiments/wmt.py:wmt17,big"),
  *("--workdir=/mnt/runs/big", "--config.mesh.fsdp=4"),
]
printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
print(printed.replace(str(clone.resolve()), "tfx_jax"))

# %% [markdown]
# Without `--dry-run` these commands cost money. For Slurm and Kubernetes see `docs/scale.md`.
