"""From the configuration to the task, its data and its tokenizers."""

import itertools
import os
from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

from tfx_jax.builders.named import arguments_of
from tfx_jax.codecs.codec import Codec, Tokens
from tfx_jax.codecs.text.loading import load_tokenizer, train_tokenizer
from tfx_jax.codecs.text.tokenizer import Tokenizer, without_source_suffix
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
from tfx_jax.sources.overlap import WithoutOverlap
from tfx_jax.sources.reader import Reader, open_reader
from tfx_jax.tasks.dialogue import Dialogue
from tfx_jax.tasks.summarize import Summarize
from tfx_jax.tasks.task import Task
from tfx_jax.tasks.text import Text
from tfx_jax.tasks.translate import Translate

TASKS = {"translate": Translate, "summarize": Summarize, "dialogue": Dialogue, "text": Text}
SPLITS = ("train", "validation", "test")


def make_task(config: ConfigDict) -> Task:
  """Returns the task of `config.task`.

  Raises:
    UserError: if its name means no task.
  """
  name = config.task.name
  made_by = TASKS.get(name) or _own_task(name)
  settings = arguments_of(made_by, config.task)
  settings.pop("name", None)
  check_parameters("task.name", name, made_by, list(settings))
  task = made_by(**settings)
  check_members("task.name", name, task, "task", members(Task))
  return task


def _own_task(name: str) -> type[Task]:
  """The class of the user's own that a name means, if it is one of tasks."""
  found = imported("task.name", name, TASKS)
  # A function tells only when it is called what it gives, and that may be too late.
  if not isinstance(found, type):
    raise UserError(f"task.name='{name}' is no task: it is not a class")
  methods = [member for member in members(Task) if hasattr(Task, member)]
  check_members("task.name", name, found, "task", methods)
  return found


def make_reader(config: ConfigDict, split: str) -> Reader:
  """The reader of a split.

  Raises:
    UserError: if the config names no data for it, or the data is missing.
  """
  path = config.data[split]
  if not path:
    raise UserError(f"data.{split} is empty: name the files of the {split} data")
  task = make_task(config)
  fields = task.fields(split)
  data = config.data
  try:
    reader = open_reader(data.format, path, fields, data.columns, data.tfds_dir)
  except MissingFile as error:
    origin = config.data.origin and f"; this experiment's data: {config.data.origin}"
    raise UserError(f"{error} (data.{split}={path}{origin})") from error
  if split != "train" or not config.data.remove_overlap:
    return reader
  if not hasattr(task, "overlap_keys"):
    raise UserError(f"data.remove_overlap=True: task '{config.task.name}' has no overlap_keys")
  others = [make_reader(config, other) for other in SPLITS if other != split and config.data[other]]
  return WithoutOverlap(reader, others, task.overlap_keys)


def data_fingerprints(config: ConfigDict) -> dict[str, str]:
  """Identity of the data of each split: of its content, wherever it lies."""
  return {split: make_reader(config, split).fingerprint for split in SPLITS}


def read_examples(config: ConfigDict, split: str, limit: int = 0) -> list[Example]:
  """What is decoded of a split as texts: the first `limit`, or all if that is 0.

  Where texts have no metrics they are only looked at, and `evaluate.num_samples` are enough.
  """
  task = make_task(config)
  examples = itertools.chain.from_iterable(map(task.eval_examples, make_reader(config, split)))
  if not task.metrics:
    return list(itertools.islice(examples, config.evaluate.num_samples))
  return list(itertools.islice(examples, limit or None))


def make_tokenizers(
  config: ConfigDict, workdir: str, given: Callable[[], tuple[Tokenizer, Tokenizer]] | None = None
) -> tuple[Tokenizer, Tokenizer]:
  """The tokenizers of sources and targets: the run's own, or `given` or new ones, saved with it."""
  folder = os.path.join(workdir, "tokenizer")
  if given is not None:
    # The last that is saved: the rest is there if it is.
    if not any(os.path.isdir(os.path.join(folder, name)) for name in ("joint", "target")):
      source, target = given()
      pair = {"joint": source} if source is target else {"source": source, "target": target}
      for name, tokenizer in pair.items():
        tokenizer.save(os.path.join(folder, name))
    return saved_tokenizers(config, workdir)
  settings = config.tokenizer.to_dict()
  joint, path = settings.pop("joint"), settings.pop("path")
  task, reader = make_task(config), None

  def texts(sides: tuple[int, ...]) -> Iterator[str]:
    for example in itertools.chain.from_iterable(map(task.examples, reader)):
      yield from (example[side] for side in sides if example[side] is not None)

  for name, sides in (("joint", (0, 1)),) if joint else (("source", (0,)), ("target", (1,))):
    if os.path.isdir(os.path.join(folder, name)):
      continue
    if path:
      tokenizer = load_tokenizer(path if joint else os.path.join(path, name))
    else:
      reader = make_reader(config, "train")
      tokenizer = train_tokenizer(texts(sides), **settings)
    tokenizer.save(os.path.join(folder, name))
  return saved_tokenizers(config, workdir)


def saved_tokenizers(config: ConfigDict, workdir: str) -> tuple[Tokenizer, Tokenizer]:
  """The tokenizers of sources and targets that are saved with a run."""
  folder = os.path.join(workdir, "tokenizer")
  # Over one list of pieces, a pretrained model may still read and write in two ways.
  joint = config.tokenizer.joint and not os.path.isdir(os.path.join(folder, "source"))
  names = ("joint", "joint") if joint else ("source", "target")
  source, target = (load_tokenizer(os.path.join(folder, name)) for name in names)
  return with_special_tokens(config, (source, target))


def with_special_tokens(
  config: ConfigDict, tokenizers: tuple[Tokenizer, Tokenizer]
) -> tuple[Tokenizer, Tokenizer]:
  """Returns the tokenizers with the special tokens that the configuration asks for."""
  if config.data.end_sources:
    return tokenizers
  source, target = map(without_source_suffix, tokenizers)
  return source, target


def make_corpus(
  config: ConfigDict, split: str, tokenizers: tuple[Tokenizer, Tokenizer], cache_dir: str = ""
) -> Corpus:
  """The tokenised corpus of a split, made now or found in the cache."""
  task, reader = make_task(config), make_reader(config, split)
  return prepare(
    itertools.chain.from_iterable(map(task.examples, reader)),
    f"{reader.fingerprint}-{task.identity}",
    *tokenizers,
    cache_dir=cache_dir or _corpus_folder(config),
    max_source_length=config.data.source_length,
    max_target_length=0 if config.data.stream else config.data.target_length,
    long_sources=config.data.long_sources,
    context=not task.has_source and config.model.architecture == "encoder_decoder",
    records_removed=lambda: getattr(reader, "removed", 0),
  )


def make_corpora(
  config: ConfigDict, split: str, tokenizers: tuple[Tokenizer, Tokenizer]
) -> Callable[[int], Corpus]:
  """For each epoch the tokenised corpus of a split; only training's may differ between epochs."""
  rates = (config.data.source_sampling, config.data.target_sampling)
  if split != "train" or not any(rates):
    corpus = make_corpus(config, split, tokenizers)
    return lambda epoch: corpus

  folder = os.path.join(_corpus_folder(config), "sampled")
  remove_old(folder, "corpus-*")

  def make(epoch: int) -> Corpus:
    sampled = [
      SampledTokenizer(tokenizer, rate, (config.seed, epoch, side)) if rate else tokenizer
      for side, (tokenizer, rate) in enumerate(zip(tokenizers, rates, strict=True))
    ]
    return make_corpus(config, split, tuple(sampled), folder)

  return ResampledCorpus(make)


def make_layout(config: ConfigDict, codecs: tuple[Codec, Codec] | None = None) -> Layout:
  """Returns the layout of examples for the configured architecture and task.

  Args:
    config: the configuration.
    codecs: of sources and of targets; None for tokens with the special tokens of tokenizers that
      are trained here.

  Raises:
    UserError: for frames in a decoder-only model.
  """
  source, target = (TOKENS, TOKENS) if codecs is None else (codec.element for codec in codecs)
  data, has_source = config.data, make_task(config).has_source
  continues = not has_source
  cut_start = continues or data.long_sources == "cut_start"
  if config.model.architecture == "encoder_decoder":
    lengths = data.source_length, data.target_length
    return EncoderDecoderLayout(*lengths, continues, cut_start, (source, target))
  if not (isinstance(source, Tokens) and isinstance(target, Tokens)):
    raise UserError(
      f"model.architecture='{config.model.architecture}' takes tokens, and this task has frames: "
      "use 'encoder_decoder'"
    )
  if data.stream:
    return StreamLayout(data.target_length)
  length = data.target_length + (data.source_length if has_source else 0)
  return SequenceLayout(length, continues, cut_start, target)


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
  """Where what can be made again is kept: TFX_JAX_CACHE, or the user's cache folder."""
  home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(os.path.join("~", ".cache"))
  return os.environ.get("TFX_JAX_CACHE") or os.path.join(home, "tfx_jax")


def _corpus_folder(config: ConfigDict) -> str:
  return config.data.cache_dir or os.path.join(cache_folder(), "corpora")
