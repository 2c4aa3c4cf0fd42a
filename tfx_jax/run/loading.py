"""Opens trained runs, ensembles of them, and models of other libraries."""

from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from tfx_jax import builders, pretrained
from tfx_jax.builders.validation import validate
from tfx_jax.common.names import trusting
from tfx_jax.config import base
from tfx_jax.config import files as config_files
from tfx_jax.errors import UserError, as_path
from tfx_jax.generation.inputs import as_texts
from tfx_jax.models.ensemble import combine
from tfx_jax.models.lora import Adapted
from tfx_jax.models.quantized import Quantized, quantize
from tfx_jax.pretrained.export import EXECUTION_SETTINGS
from tfx_jax.run.run import Run
from tfx_jax.runtime import compilation_cache
from tfx_jax.training.checkpoints.selection import restore_params
from tfx_jax.training.state import plan_params


def load(
  workdir: str,
  checkpoint: str | int | None = None,
  config: ConfigDict | None = None,
  ensemble: str | Sequence[str] | None = None,
  trust: bool = False,
) -> Run:
  """Opens a trained run, or an ensemble of several as one run.

  From then on JAX caches compiled programs on disk, see `runtime/compilation_cache.py: use`.

  Args:
    workdir: workdir of the training, or a folder of Hugging Face with config.json, safetensors and
      tokenizer.json; "hf://ORGANISATION/NAME" downloads one.
    checkpoint: "best", "latest", "ema", "average" or a step; by default
      `config.evaluate.checkpoint`.
    config: a configuration to use in place of the workdir's, with other settings of generation or
      evaluation.
    ensemble: the other members; by default `config.generate.ensemble`.
    trust: whether code named in the folder's config.json (`package.module:Name`) may be run; only
      for folders whose authors you trust. A `config` argument is always trusted.

  Raises:
    UserError: if the workdir contains no trained run, a member is missing or has other tokenizers,
      or a folder that is not trusted names code.
  """
  workdir = as_path("load: workdir", workdir)
  if config is not None and not isinstance(config, ConfigDict):
    raise UserError(f"load: config is {type(config).__name__}: use a ConfigDict, like run.config")
  if isinstance(ensemble, str):
    ensemble = (ensemble,)
  members = None if ensemble is None else as_texts("load: ensemble", ensemble)
  compilation_cache.use(builders.cache_folder())
  with trusting(trust):
    return _open_all(workdir, checkpoint, config, members)


def _open_all(
  workdir: str,
  checkpoint: str | int | None,
  config: ConfigDict | None,
  ensemble: Sequence[str] | None,
) -> Run:
  run = _open(workdir, checkpoint, config)
  names = run.config.generate.ensemble if ensemble is None else ensemble
  if names:
    members = [run, *(_member(name, workdir, run) for name in names)]
    run.model, run.params = combine([m.model for m in members], [m.params for m in members])
  if run.config.evaluate.weights == "int8":
    run.model, run.params = Quantized(run.model), run.parallel.jit(quantize)(run.params)
  return run


def _member(name: str, workdir: str, first: Run) -> Run:
  """Opens a member of an ensemble, on the mesh of its first member.

  Args:
    name: 'WORKDIR', 'WORKDIR@CHECKPOINT' or '@CHECKPOINT'.
    workdir: the workdir of the first member.
    first: the first member.

  Raises:
    UserError: if it cannot be opened, or has other tokenizers than the first.
  """
  folder, at, checkpoint = name.rpartition("@")
  if not at or "/" in checkpoint:
    folder, checkpoint = name, ""
  try:
    config = config_files.read_config(folder) if folder else first.config
    if config is not None:
      config.mesh = first.config.mesh
    member = _open(folder or workdir, checkpoint or None, config)
  except UserError as error:
    raise UserError(f"generate.ensemble: {error}") from error
  for side, first_codec, other in zip(
    ("source", "target"), first.codecs, member.codecs, strict=True
  ):
    if first_codec.fingerprint != other.fingerprint:
      raise UserError(
        f"generate.ensemble: {name} has another {side} codec than {workdir}, "
        "and members must share theirs"
      )
  return member


def read_config(workdir: str) -> ConfigDict:
  """Returns the configuration of a run, or one made from a Hugging Face folder.

  Raises:
    UserError: if the folder contains neither, or names code and is not trusted.
  """
  workdir = pretrained.fetched(workdir)
  recorded = config_files.read_config(workdir)
  if recorded is not None:
    return recorded
  if pretrained.is_foreign(workdir):
    return _config_of(_read_foreign(workdir))
  raise UserError(f"{workdir} holds no run: there is no config.json in it")


def adopt(config: ConfigDict, workdir: str) -> list[str]:
  """Sets the model and the codecs of a configuration to those of `train.init_from`.

  Settings of how a model is trained or run stay unchanged. A run that has started has them already.

  Returns:
    the changes, a line for each key.
  """
  source = config_files.recorded_config(workdir) or read_config(config.train.init_from)
  old = config.to_dict()
  for section in ("model", "tokenizer", "image"):
    for key, value in source[section].items():
      if key not in EXECUTION_SETTINGS:
        config[section][key] = value
  return config_files.differences(old, config.to_dict())


def _open(workdir: str, checkpoint: str | int | None, config: ConfigDict | None) -> Run:
  foreign, workdir = None, pretrained.fetched(workdir)
  read = config_files.read_config if config is None else config_files.recorded_config
  recorded = read(workdir)
  if recorded is None:
    if not pretrained.is_foreign(workdir):
      raise UserError(f"{workdir} holds no run: there is no config.json in it")
    foreign = _read_foreign(workdir)
    recorded = _config_of(foreign)
  config = recorded if config is None else config
  validate(config)
  for line in config_files.differences(recorded.to_dict(), config.to_dict()):
    # The precision and the kind of gradients may change, the meaning of the parameters may not.
    how = line.startswith(("model.dtype", "model.plain_gradients"))
    if line.startswith(("model.", "tokenizer.", "image.", "lora.")) and not how:
      raise UserError(f"{workdir} holds another model ({line}): leave that setting as it was")
  parallel = builders.make_parallel(config)
  if foreign:
    codecs = builders.as_configured(config, foreign.tokenizers)
  else:
    codecs = builders.saved_codecs(config, workdir)
  model = builders.make_model(config, codecs)
  trained = builders.make_adapted(config, model)
  abstract, shardings = plan_params(trained, builders.example_of(codecs), parallel)
  if foreign:
    params, step = jax.device_put(foreign.params(abstract), shardings), 0
  else:
    params, step = restore_params(
      workdir,
      str(checkpoint if checkpoint is not None else config.evaluate.checkpoint),
      abstract,
      shardings,
      average_last=config.evaluate.average_last or config.train.keep_checkpoints,
      ema=config.train.ema_decay > 0,
      settings=builders.state_settings(config),
    )
  adapters = None
  if isinstance(trained, Adapted):
    adapters, params = params["adapters"], parallel.jit(trained.merge)(params)
  return Run(
    config,
    params,
    step,
    model=model,
    codecs=codecs,
    parallel=parallel,
    adapters=adapters,
  )


def _read_foreign(folder: str) -> pretrained.Pretrained:
  return pretrained.read(folder, base().to_dict())


def _config_of(foreign: pretrained.Pretrained) -> ConfigDict:
  """Returns the configuration of a foreign model."""
  config = base()
  for section, settings in foreign.settings.items():
    config[section].update(settings)
  return config
