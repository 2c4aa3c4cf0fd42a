"""From the configuration to the task and its data."""

import itertools
import os
from collections.abc import Callable

from absl import logging
from ml_collections import ConfigDict

from tfx_jax.builders.named import arguments_of
from tfx_jax.codecs.codec import Codec, Tokens
from tfx_jax.common.names import check_members, check_parameters, imported, members
from tfx_jax.data.cache import remove_old
from tfx_jax.data.corpus import Corpus, prepare
from tfx_jax.data.example import Example
from tfx_jax.data.layout import EncoderDecoderLayout, Layout, SequenceLayout
from tfx_jax.data.loader import Loader
from tfx_jax.data.packing import TOKENS
from tfx_jax.data.sampling import ResampledCorpus, SampledTokenizer
from tfx_jax.data.stream import StreamLayout
from tfx_jax.errors import MissingFile, UserError
from tfx_jax.parallel import Parallel
from tfx_jax.sources.fitted import FittedPictures
from tfx_jax.sources.formats import open_source
from tfx_jax.sources.held_out import HeldOut, hold_out, tail_part
from tfx_jax.sources.overlap import WithoutOverlap
from tfx_jax.sources.source import Source
from tfx_jax.tasks.describe import Describe
from tfx_jax.tasks.dialogue import Dialogue
from tfx_jax.tasks.draw import Draw
from tfx_jax.tasks.reconstruct import Reconstruct
from tfx_jax.tasks.summarize import Summarize
from tfx_jax.tasks.task import Task
from tfx_jax.tasks.text import Text
from tfx_jax.tasks.translate import Translate

TASKS = {
  "translate": Translate,
  "summarize": Summarize,
  "dialogue": Dialogue,
  "text": Text,
  "draw": Draw,
  "describe": Describe,
  "reconstruct": Reconstruct,
}
SPLITS = ("train", "validation", "test")


def make_task(config: ConfigDict) -> Task:
  """Returns the task of `config.task`.

  Raises:
    UserError: for a name that is no task.
  """
  name = config.task.name
  task_class = TASKS.get(name) or _imported_task(name)
  settings = arguments_of(task_class, config.task)
  settings.pop("name", None)
  check_parameters("task.name", name, task_class, list(settings))
  task = task_class(**settings)
  check_members("task.name", name, task, "task", members(Task))
  return task


def _imported_task(name: str) -> type[Task]:
  """Returns the task of a class `package.module:Name`."""
  imported_class = imported("task.name", name, TASKS)
  # What a function returns is known only after it is called, and that may be too late.
  if not isinstance(imported_class, type):
    raise UserError(f"task.name='{name}' is no task: it is not a class")
  methods = [member for member in members(Task) if hasattr(Task, member)]
  check_members("task.name", name, imported_class, "task", methods)
  return imported_class


def make_source(config: ConfigDict, split: str) -> Source:
  """Returns the records of a split.

  Raises:
    UserError: if the config names no data for it, or the data is missing.
  """
  source = _open_split(config, split)
  if split != "train" or not config.data.remove_overlap:
    return source
  task = make_task(config)
  overlap_keys = getattr(task, "overlap_keys", None)
  if overlap_keys is None:
    raise UserError(f"data.remove_overlap=True: task '{config.task.name}' has no overlap_keys")
  return WithoutOverlap(source, [_open_split(config, other) for other in SPLITS[1:]], overlap_keys)


def _open_split(config: ConfigDict, split: str) -> Source:
  """Returns all records of a split; those of one without a path are held out from training."""
  held = held_out_splits(config)
  # Held-out records are training records: without the references that only a test set has.
  named = "train" if split in held else split
  data, path, hint = config.data, config.data[named], ""
  if not path:
    raise UserError(f"data.{split} is empty: name the files of the {split} data")
  try:
    fields = make_task(config).fields(named)
    source = open_source(data.format, path, fields, data.columns, data.tfds_dir)
  except MissingFile as error:
    if config.data.origin:
      hint = f"; this experiment's data: {config.data.origin}"
    elif named != "train":
      hint = f"; without data.{named}, a share of data.train is held out for it"
    raise UserError(f"{error} (data.{named}={path}{hint})") from error
  if "image" in getattr(make_task(config), "kinds", ()):
    source = FittedPictures(source, (*config.image.size, config.image.channels), config.image.fit)
  return hold_out(source, split, held, data.held_out) if held and named == "train" else source


def held_out_splits(config: ConfigDict) -> list[str]:
  """Returns the splits without a path, which are held out from the training data."""
  return [split for split in SPLITS[1:] if config.data.train and not config.data[split]]


def describe_held_out(config: ConfigDict) -> str:
  """Returns a line about the splits that are held out from training; '' if there are none."""
  held, share = held_out_splits(config), config.data.held_out
  if not held:
    return ""
  keys, verb = " and ".join(f"data.{split}" for split in held), "are" if held[1:] else "is"
  if isinstance(_open_split(config, held[0]), HeldOut):
    each = "each" if held[1:] else "it"
    how = f"{share:.3g} of the records of data.train is held out for {each}, by their content"
  else:
    parts = " and ".join(str(tail_part(split, held, share)) for split in held)
    how = f"{parts} of the text of data.train {verb} held out"
  return f"{keys} {verb} empty: {how} (data.held_out={share:.3g})"


def data_fingerprints(config: ConfigDict) -> dict[str, str]:
  """Returns the fingerprint of the data of each split; its location is not part of it."""
  return {split: make_source(config, split).fingerprint for split in SPLITS}


def read_examples(config: ConfigDict, split: str, limit: int = 0) -> list[Example]:
  """Returns the examples of a split to generate outputs for: the first `limit`, or all if 0.

  Examples whose references are all empty are left out, which a message says. If the task has no
  metrics, outputs are only shown: then the first `evaluate.num_samples`.
  """
  task = make_task(config)
  examples = itertools.chain.from_iterable(map(task.eval_examples, make_source(config, split)))
  number = (limit or None) if task.metrics else config.evaluate.num_samples
  kept: list[Example] = []
  empty = 0
  for example in examples:
    if len(kept) == number:
      break
    if any(not isinstance(text, str) or text.strip() for text in example.judged_by):
      kept.append(example)
    else:
      empty += 1
  if empty:
    logging.warning("%s: %d example(s) without a reference text are left out", split, empty)
  return kept


def make_corpus(
  config: ConfigDict, split: str, codecs: tuple[Codec, Codec], cache_dir: str = ""
) -> Corpus:
  """Returns the encoded corpus of a split, from the cache or encoded now."""
  task, source = make_task(config), make_source(config, split)
  return prepare(
    itertools.chain.from_iterable(map(task.examples, source)),
    f"{source.fingerprint}-{task.identity}",
    *codecs,
    cache_dir=cache_dir or _corpus_folder(config),
    max_source_length=config.data.source_length,
    max_target_length=0 if config.data.stream else config.data.target_length,
    long_sources=config.data.long_sources,
    context=not task.has_source and config.model.architecture == "encoder_decoder",
    records_removed=lambda: getattr(source, "removed", 0),
  )


def make_corpora(
  config: ConfigDict, split: str, codecs: tuple[Codec, Codec]
) -> Callable[[int], Corpus]:
  """Returns epoch -> encoded corpus of a split; only that of training may differ between epochs."""
  rates = (config.data.source_sampling, config.data.target_sampling)
  if split != "train" or not any(rates):
    corpus = make_corpus(config, split, codecs)
    return lambda epoch: corpus

  folder = os.path.join(_corpus_folder(config), "sampled")
  remove_old(folder, "corpus-*")

  def make(epoch: int) -> Corpus:
    source, target = (
      SampledTokenizer(codec, rate, (config.seed, epoch, side)) if rate else codec
      for side, (codec, rate) in enumerate(zip(codecs, rates, strict=True))
    )
    return make_corpus(config, split, (source, target), folder)

  return ResampledCorpus(make)


def make_layout(config: ConfigDict, codecs: tuple[Codec, Codec] | None = None) -> Layout:
  """Returns the layout of examples for the configured architecture and task.

  Args:
    config: the configuration.
    codecs: codecs of sources and of targets; None for tokens with the special tokens of tokenizers
      that are trained here.

  Raises:
    UserError: for frames in a decoder-only model.
  """
  source, target = (TOKENS, TOKENS) if codecs is None else (codec.element for codec in codecs)
  data, has_source = config.data, make_task(config).has_source
  continues = not has_source
  cut_start = continues or data.long_sources == "cut_start"
  if config.model.architecture != "decoder_only":
    lengths = data.source_length, data.target_length
    shared = (source, target), data.source_dropout, config.model.group_size
    return EncoderDecoderLayout(*lengths, continues, cut_start, *shared)
  if not (isinstance(source, Tokens) and isinstance(target, Tokens)):
    raise UserError(
      f"model.architecture='{config.model.architecture}' takes tokens, and this task has frames: "
      "use 'encoder_decoder'"
    )
  if data.stream:
    return StreamLayout(data.target_length)
  length = data.target_length + (data.source_length if has_source else 0)
  return SequenceLayout(length, continues, cut_start, target, data.source_dropout)


def make_loader(
  config: ConfigDict,
  corpora: Callable[[int], Corpus],
  parallel: Parallel,
  codecs: tuple[Codec, Codec] | None = None,
) -> Loader:
  """Returns the loader of a corpus, for this process's share of each batch."""
  return Loader(
    corpora,
    config.seed,
    make_layout(config, codecs),
    config.data.batch_size,
    parallel.local_shards,
    parallel.batch_shards,
  )


def cache_folder() -> str:
  """Returns the folder of files that can be made again: TFX_JAX_CACHE, or the user's cache."""
  home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(os.path.join("~", ".cache"))
  return os.environ.get("TFX_JAX_CACHE") or os.path.join(home, "tfx_jax")


def _corpus_folder(config: ConfigDict) -> str:
  return config.data.cache_dir or os.path.join(cache_folder(), "corpora")
