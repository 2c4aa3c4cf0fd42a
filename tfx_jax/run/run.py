"""A trained run for people: `run = tfx_jax.load(workdir)`, then generate, score, evaluate."""

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.config import base
from tfx_jax.errors import UserError, as_path, shown
from tfx_jax.evaluation.align import Aligner, Alignment
from tfx_jax.evaluation.evaluate import loss_figures, text_figures
from tfx_jax.evaluation.score import Scorer
from tfx_jax.generation.generator import Hypothesis
from tfx_jax.generation.inputs import as_targets, as_text, as_texts, cut_long
from tfx_jax.generation.text.constraints import Prefixes
from tfx_jax.models.quantized import dequantize
from tfx_jax.pretrained.export import write_huggingface, write_safetensors
from tfx_jax.report.heat_map import draw_heat_map
from tfx_jax.training.step import make_loss_step


class Run:
  """A model with its parameters, tokenizers and settings.

  Attributes:
    config: the run's configuration.
    params: the model's parameters, with all that was learnt in them.
    adapters: what was learnt beside fixed parameters, or None; see `training/lora.py`.
    step: the training step they are from.
  """

  def __init__(
    self,
    config: ConfigDict,
    params: Any,
    step: int,
    *,
    model: Any,
    tokenizers: tuple[Tokenizer, Tokenizer],
    parallel: Any,
    adapters: Any = None,
  ):
    self.config, self.params, self.step = config, params, step
    self.model, self.tokenizers, self.parallel = model, tokenizers, parallel
    self.adapters = adapters

  def generate(
    self, inputs: Iterable[str], prefixes: Prefixes | None = None, **settings: Any
  ) -> list[list[Hypothesis]]:
    """For each input its hypotheses, best first.

    Args:
      inputs: texts.
      prefixes: what the outputs of each input begin with, texts or token lists; empty ones force
        nothing. By default `config.generate.prefix`.
      **settings: changes of `config.generate` for this call, such as `beam_size`, `num_return`,
        `length_penalty`, `max_length`.

    Raises:
      UserError: for an unknown setting, or one that makes no sense.
    """
    texts = as_texts("generate: inputs", inputs)
    return self.generator(self.params, texts, prefixes=prefixes, **settings)

  def stream(self, text: str, number: int = 0, **settings: Any) -> Iterator[str]:
    """The output of one text while it is written: pieces, which together are the whole.

    Args:
      text: the input.
      number: which of several inputs it is; samples depend on it.
      **settings: changes of `config.generate` for this call; it takes `beam_size=1` or
        `search="sample"`.

    Raises:
      UserError: for an unknown setting, or one that makes no sense.
    """
    text = as_text("stream: text", text)
    try:
      number = operator.index(number)
    except TypeError:
      raise UserError(f"stream: number={shown(number)}: use a whole number") from None
    return self.generator.stream(self.params, text, number, **settings)

  def reads_whole(self, text: str) -> bool:
    """Whether an input is not too long to be read as it is."""
    longest = self.config.generate.max_source_length
    limit = min(longest, self.layout.window or longest)
    (ids,) = self.tokenizers[0].encode([text])
    return len(self.layout.prompt(ids)) <= limit

  def score(
    self, inputs: Iterable[str], targets: Iterable[str] | Iterable[Iterable[int]]
  ) -> list[float]:
    """The summed log-probability in nats of each target, given its input.

    Args:
      inputs: texts, cut like those of `generate`.
      targets: texts, to which EOS is added where texts end with it, or token lists, which are taken
        as they are.

    Raises:
      UserError: for a pair that is longer than what the model can read, or ids that there are not.
    """
    return self._scorer(self.params, *self._encode("score", inputs, targets))

  def attention(
    self,
    inputs: Iterable[str],
    targets: Iterable[str] | Iterable[Iterable[int]],
    warn: bool = True,
  ) -> list[Alignment]:
    """What each target attends to in its input, by the layer `config.generate.alignment_layer`.

    Args:
      inputs: texts, cut like those of `generate`.
      targets: texts, to which EOS is added, or token lists, which are taken as they are.
      warn: whether inputs that are cut are reported; `generate` has reported its own.
    """
    if self.config.model.architecture != "encoder_decoder":
      raise UserError(
        f"model.architecture='{self.config.model.architecture}' has no attention to a source: "
        "alignments need an encoder_decoder"
      )
    sources, encoded = self._encode("attention", inputs, targets, warn)
    weights = self._aligner(self.params, sources, encoded)
    source, target = self.tokenizers
    return [
      Alignment(source.pieces(read), target.pieces(written), shares)
      for read, written, shares in zip(sources, encoded, weights, strict=True)
    ]

  def draw_attention(self, path: str, text: str, target: str | Sequence[int]) -> None:
    """Draws what a target attends to in its input as a heat map, in the format of `path`'s ending.

    Raises:
      UserError: if it cannot be written.
    """
    path = as_path("draw_attention: path", path)
    (alignment,) = self.attention([text], [target])
    draw_heat_map(path, alignment.source, alignment.target, alignment.weights)

  def export(self, folder: str, format: str = "huggingface", architecture: str = "") -> None:
    """Writes the model into a new folder.

    Args:
      folder: which must not exist, or be empty.
      format: "huggingface" for what transformers loads, with tokenizer and settings; "safetensors"
        for parameters under our own names, with int8 weights those of `quantize`; "adapters" for
        what was learnt alone, likewise.
      architecture: of transformers, such as "MistralForCausalLM"; by default the first one that has
        this model's settings.

    Raises:
      UserError: naming the setting for which transformers has no such model.
    """
    folder = as_path("export: folder", folder)
    architecture = as_text("export: architecture", architecture)
    model, generate = self.config.model.to_dict(), self.config.generate.to_dict()
    if format == "huggingface":
      params, defaults = dequantize(self.params), base().model.to_dict()
      write_huggingface(folder, model, generate, params, self.tokenizers, defaults, architecture)
    elif format == "safetensors":
      write_safetensors(folder, self.params, self.config.to_dict())
    elif format == "adapters":
      if self.adapters is None:
        raise UserError("format='adapters' is for runs with lora.rank above 0")
      write_safetensors(folder, self.adapters, self.config.to_dict())
    else:
      raise UserError(f"format={shown(format)}: use huggingface, safetensors or adapters")

  def _encode(
    self, name: str, inputs: Iterable, targets: Iterable, warn: bool = True
  ) -> tuple[list, list]:
    """Inputs, cut like those of `generate`, and targets, as pairs of the model's layout."""
    texts = as_texts(f"{name}: inputs", inputs)
    written = as_targets(f"{name}: targets", targets, self.tokenizers[1], self.layout)
    if len(texts) != len(written):
      raise UserError(f"{name} got {len(texts)} inputs but {len(written)} targets")
    longest = self.config.generate.max_source_length
    encoded = cut_long(self.tokenizers[0].encode(texts), self.layout, longest, warn)
    return [self.layout.source(ids) for ids in encoded], written

  def evaluate(
    self, split: str = "test", on_batch: Any = lambda count: None
  ) -> tuple[dict[str, float | str], list[dict[str, str]]]:
    """Figures on a split by loss and by decoded text, and rows of texts to look at.

    Raises:
      UserError: for an unknown split.
    """
    if split not in builders.SPLITS:
      raise UserError(f"evaluate: split={shown(split)}: use {', '.join(builders.SPLITS)}")
    examples = builders.read_examples(self.config, split)
    corpus = builders.make_corpus(self.config, split, self.tokenizers)
    loader = builders.make_loader(self.config, lambda epoch: corpus, self.parallel, self.tokenizers)
    objective = builders.make_objective(self.config, self.model, self.parallel)
    loss_step = self.parallel.jit(make_loss_step(objective))
    figures = loss_figures(loss_step, self.params, loader, self.parallel)
    task = builders.make_task(self.config)
    texts, rows = text_figures(self.generator, self.params, task, examples, on_batch)
    return figures | texts, rows

  @functools.cached_property
  def layout(self) -> Any:
    """How the model reads inputs."""
    return builders.make_layout(self.config, self.tokenizers)

  @functools.cached_property
  def generator(self) -> Any:
    """Generates texts by the run's settings."""
    return builders.make_generator(self.config, self.model, self.tokenizers, self.parallel)

  @functools.cached_property
  def _scorer(self) -> Scorer:
    return Scorer(self.model, self.parallel, self.layout, self.config.generate.batch_size)

  @functools.cached_property
  def _aligner(self) -> Aligner:
    settings = self.config.generate
    return Aligner(
      self.model, self.parallel, self.layout, settings.batch_size, settings.alignment_layer
    )
