"""From the configuration to the parts of a run; the only reader of the configuration."""

import functools
import importlib
import inspect
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from tfx_jax.data.corpus import Corpus, prepare, remove_old
from tfx_jax.data.example import Example
from tfx_jax.data.loader import Loader
from tfx_jax.data.reader import Reader, open_reader
from tfx_jax.data.sampling import ResampledCorpus, SampledTokenizer
from tfx_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from tfx_jax.errors import UserError, nearest
from tfx_jax.evaluation.generate import Generator
from tfx_jax.evaluation.generate_settings import GenerateSettings
from tfx_jax.layers import norm as norms
from tfx_jax.layers.attention import Attention
from tfx_jax.layers.block import Block
from tfx_jax.layers.embed import TokenEmbed, padded_size
from tfx_jax.layers.feed_forward import FeedForward
from tfx_jax.layers.head import VocabularyHead
from tfx_jax.layers.position import AlibiBias, BucketBias, LearnedPositions, sinusoidal
from tfx_jax.layers.stack import Stack
from tfx_jax.models.encoder_decoder import EncoderDecoder
from tfx_jax.parallel import Parallel
from tfx_jax.tasks.dialogue import Dialogue
from tfx_jax.tasks.translate import Translate
from tfx_jax.training.loop import Timetable
from tfx_jax.training.optimizer import make_optimizer, make_schedule
from tfx_jax.training.step import make_train_step

TASKS = {"translate": Translate, "dialogue": Dialogue}
NORMS = {"layer_norm": norms.LayerNorm, "rms_norm": norms.RMSNorm}
POSITIONS = ("sinusoidal", "learned", "rotary", "alibi", "bucket", "none")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
SPLITS = ("train", "validation", "test")


def make_task(config: ConfigDict) -> Any:
  """The task of `config.task`."""
  name = config.task.name
  make = TASKS[name] if name in TASKS else _named("task.name", name, TASKS)
  return make(**_arguments_of(make, config.task))


def make_reader(config: ConfigDict, split: str) -> Reader:
  """The reader of a split.

  Raises:
    UserError: if the config names no data for it, or the data is missing.
  """
  path = config.data[split]
  if not path:
    raise UserError(f"data.{split} is empty: name the files of the {split} data")
  fields = make_task(config).fields
  columns = config.data.columns or fields
  return open_reader(config.data.format, path, fields, columns, config.data.tfds_dir)


def read_examples(config: ConfigDict, split: str, limit: int = 0) -> list[Example]:
  """The examples of a split, or the first `limit` of them, as texts."""
  task = make_task(config)
  records = itertools.islice(make_reader(config, split), limit or None)
  return [task.example(record) for record in records]


def make_tokenizers(config: ConfigDict, workdir: str) -> tuple[Tokenizer, Tokenizer]:
  """The tokenizers of sources and targets: the run's own, or new ones saved with the run."""
  settings = config.tokenizer.to_dict()
  joint, path = settings.pop("joint"), settings.pop("path")
  task, reader = make_task(config), None

  def texts(sides: tuple[int, ...]) -> Iterator[str]:
    for record in reader:
      example = task.example(record)
      yield from (example[side] for side in sides)

  for name, sides in (("joint", (0, 1)),) if joint else (("source", (0,)), ("target", (1,))):
    folder = os.path.join(workdir, "tokenizer", name)
    if os.path.isdir(folder):
      continue
    if path:
      tokenizer = load_tokenizer(path if joint else os.path.join(path, name))
    else:
      reader = make_reader(config, "train")
      tokenizer = train_tokenizer(texts(sides), **settings)
    tokenizer.save(folder)
  return saved_tokenizers(config, workdir)


def saved_tokenizers(config: ConfigDict, workdir: str) -> tuple[Tokenizer, Tokenizer]:
  """The tokenizers of sources and targets that are saved with a run."""
  names = ("joint", "joint") if config.tokenizer.joint else ("source", "target")
  source, target = (load_tokenizer(os.path.join(workdir, "tokenizer", name)) for name in names)
  return source, target


def make_corpus(
  config: ConfigDict, split: str, tokenizers: tuple[Tokenizer, Tokenizer], cache_dir: str = ""
) -> Corpus:
  """The tokenised corpus of a split, made now or found in the cache."""
  task, reader = make_task(config), make_reader(config, split)
  return prepare(
    (task.example(record) for record in reader),
    f"{reader.fingerprint}-{config.task.name}-{'-'.join(task.fields)}",
    *tokenizers,
    cache_dir=cache_dir or _corpus_folder(config),
    max_source_length=config.data.source_length,
    max_target_length=config.data.target_length,
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


def make_loader(config: ConfigDict, corpora: Callable[[int], Corpus]) -> Loader:
  """The loader of a corpus, for this process."""
  return Loader(
    corpora,
    config.seed,
    config.data.source_length,
    config.data.target_length,
    config.data.batch_size,
    jax.process_index(),
    jax.process_count(),
  )


def make_model(config: ConfigDict, tokenizers: tuple[Tokenizer, Tokenizer]) -> nn.Module:
  """The model, for the vocabularies of the tokenizers."""
  c = config.model
  dtype = _dtype(c.dtype)
  heads = c.num_kv_heads or c.num_heads
  head_dim = c.head_dim or c.features // c.num_heads
  attention = functools.partial(
    Attention,
    c.features,
    c.num_heads,
    heads,
    head_dim,
    use_bias=c.use_bias,
    dropout_rate=c.attention_dropout,
    dtype=dtype,
  )
  norm = functools.partial(NORMS[c.norm], c.features, epsilon=c.norm_epsilon, dtype=dtype)
  if c.norm == "layer_norm":
    norm = functools.partial(norm, use_bias=c.use_bias)
  block = functools.partial(
    Block,
    attention=functools.partial(attention, rotary=c.position == "rotary"),
    feed_forward=functools.partial(
      FeedForward,
      c.features,
      c.feed_forward,
      c.activation,
      c.gated,
      c.use_bias,
      c.activation_dropout,
      dtype,
    ),
    norm=norm,
    norm_placement=c.norm_placement,
    dropout_rate=c.dropout,
  )

  def stack(block: Callable, num_layers: int, bidirectional: bool) -> Callable:
    relative = {
      "alibi": functools.partial(AlibiBias, c.num_heads),
      "bucket": functools.partial(BucketBias, c.num_heads, bidirectional),
    }
    return functools.partial(
      Stack,
      block,
      num_layers,
      final_norm=None if c.norm_placement == "post" else norm,
      relative=relative.get(c.position),
      scan=c.scan_layers,
      remat=c.remat,
    )

  position = {
    "sinusoidal": lambda: functools.partial(sinusoidal, features=c.features),
    "learned": functools.partial(LearnedPositions, c.max_positions, c.features),
  }.get(c.position)
  scale = c.features**0.5 if c.scale_embeddings else 1.0
  sizes = [padded_size(t.vocab_size, c.vocab_multiple) for t in tokenizers]
  source, target = (functools.partial(TokenEmbed, size, c.features, scale, dtype) for size in sizes)
  return EncoderDecoder(
    embed_source=None if c.share_embeddings else source,
    embed_target=target,
    position_source=position,
    position_target=position,
    encoder=stack(block, c.encoder_layers, bidirectional=True),
    decoder=stack(
      functools.partial(block, cross_attention=attention), c.decoder_layers, bidirectional=False
    ),
    head=functools.partial(
      VocabularyHead,
      c.features,
      sizes[1],
      tokenizers[1].vocab_size,
      c.tie_output,
      c.output_bias,
      dtype,
    ),
    dropout_rate=c.dropout,
  )


def make_parallel(config: ConfigDict) -> Parallel:
  """The mesh; checked against the sizes it must divide."""
  parallel = Parallel(**config.mesh)
  tensor, shards = parallel.sizes["tensor"], parallel.batch_shards
  model = config.model
  for key, size in (
    ("num_heads", model.num_heads),
    ("num_kv_heads", model.num_kv_heads or model.num_heads),
    ("feed_forward", model.feed_forward),
    ("vocab_multiple", model.vocab_multiple),
  ):
    if size % tensor:
      raise UserError(f"mesh.tensor={tensor} does not divide model.{key}={size}")
  if model.features % parallel.sizes["fsdp"]:
    raise UserError(
      f"mesh.fsdp={parallel.sizes['fsdp']} does not divide model.features={model.features}"
    )
  rows = config.data.batch_size // config.train.microbatches
  if rows % shards:
    raise UserError(
      f"data.batch_size / train.microbatches = {rows} rows do not divide over "
      f"mesh.data * mesh.fsdp = {shards} devices"
    )
  return parallel


def make_optimization(config: ConfigDict) -> tuple[Any, Callable]:
  """The optimizer and its schedule."""
  settings = config.optimizer.to_dict()
  shape = {
    key: settings.pop(key) for key in ("schedule", "learning_rate", "warmup_steps", "final_share")
  }
  schedule = make_schedule(**shape, num_steps=config.train.num_steps)
  return make_optimizer(schedule, **settings), schedule


def make_step(config: ConfigDict, model: nn.Module, optimizer: Any, schedule: Callable) -> Callable:
  """The training step, to be jitted."""
  settings = _arguments_of(make_train_step, config.train)
  return make_train_step(model, optimizer, schedule, config.seed, **settings)


def make_timetable(config: ConfigDict) -> Timetable:
  """When the loop logs, validates and saves."""
  return Timetable(**_arguments_of(Timetable, config.train))


def make_generate_settings(config: ConfigDict) -> GenerateSettings:
  """The settings of generation."""
  return GenerateSettings(**_arguments_of(GenerateSettings, config.generate))


def make_generator(
  config: ConfigDict,
  model: nn.Module,
  tokenizers: tuple[Tokenizer, Tokenizer],
  parallel: Parallel,
) -> Generator:
  """The generator of `config.generate`."""
  return Generator(model, parallel, *tokenizers, make_generate_settings(config))


def cache_folder() -> str:
  """Where what can be made again is kept: TFX_JAX_CACHE, or the user's cache folder."""
  home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(os.path.join("~", ".cache"))
  return os.environ.get("TFX_JAX_CACHE") or os.path.join(home, "tfx_jax")


def _corpus_folder(config: ConfigDict) -> str:
  return config.data.cache_dir or os.path.join(cache_folder(), "corpora")


def _dtype(name: str) -> Any:
  if name == "auto":
    name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
  return DTYPES[name]


def _named(key: str, name: str, known: Mapping[str, Any]) -> Callable:
  """What 'package.module:Name' means."""
  module, _, attribute = name.partition(":")
  if not attribute:
    raise UserError(f"{key}='{name}'{nearest(name, known)}; or package.module:Name")
  try:
    return getattr(importlib.import_module(module), attribute)
  except (ImportError, AttributeError, ValueError) as error:
    raise UserError(f"{key}='{name}': {error}") from error


def _arguments_of(function: Callable, section: ConfigDict) -> dict[str, Any]:
  names = inspect.signature(function).parameters
  return {key: value for key, value in section.items() if key in names}
