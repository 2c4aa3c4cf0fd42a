"""A trained run for people and notebooks: `run = tfx_jax.load(workdir)`, then `run.generate(…)`."""

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict
from PIL import Image

from tfx_jax import builders
from tfx_jax.builders.validation import check_guidance
from tfx_jax.codecs.codec import AnyValue, Codec
from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.config import base
from tfx_jax.data.layout import Layout
from tfx_jax.errors import UserError, as_path, shown
from tfx_jax.evaluation.align import Aligner, Alignment
from tfx_jax.evaluation.evaluate import loss_metrics, output_metrics
from tfx_jax.evaluation.score import Scorer
from tfx_jax.generation.any_generator import AnyGenerator
from tfx_jax.generation.inputs import as_targets, as_text, as_texts, cut_long, is_text
from tfx_jax.generation.text.constraints import Prefixes
from tfx_jax.models.model import Model, Params
from tfx_jax.models.quantized import dequantize
from tfx_jax.parallel import Parallel
from tfx_jax.pretrained.export import write_huggingface, write_safetensors
from tfx_jax.report.heat_map import draw_heat_map
from tfx_jax.report.pictures import gallery
from tfx_jax.run.chat import Chat
from tfx_jax.run.inputs import read_inputs
from tfx_jax.tasks.dialogue import DialogueTask
from tfx_jax.training.step import make_loss_step


class Run:
  """A model with its parameters, codecs and settings.

  Attributes:
    config: the run's configuration.
    params: the model's parameters; LoRA adapters are merged into them.
    step: the training step that they are from.
    model: the model.
    codecs: codecs of sources and of targets.
    parallel: the mesh.
    adapters: LoRA adapters alone, or None; see `models/lora.py`.
  """

  def __init__(
    self,
    config: ConfigDict,
    params: Params,
    step: int,
    *,
    model: Model,
    codecs: tuple[Codec, Codec],
    parallel: Parallel,
    adapters: Params | None = None,
  ):
    self.config, self.params, self.step = config, params, step
    self.model, self.codecs, self.parallel = model, codecs, parallel
    self.adapters = adapters

  @property
  def tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
    """Tokenizers of sources and of targets.

    Raises:
      UserError: if the run reads or writes anything but texts.
    """
    source, target = self.codecs
    if not (is_text(source) and is_text(target)):
      raise UserError(f"task.name='{self.config.task.name}' has pictures: this is for texts alone")
    return source, target

  def generate(
    self, inputs: Iterable[AnyValue], prefixes: Prefixes | None = None, **settings: Any
  ) -> list[list[Any]]:
    """Returns the outputs of each input, best first: `Hypothesis` of texts, otherwise `Output`.

    The `value` of a picture is uint8 [H,W,C].

    Args:
      inputs: texts; or pictures: uint8 [H,W,C], images of Pillow, or paths of files.
      prefixes: texts or token lists that the outputs of each input begin with; an empty one forces
        nothing. By default `config.generate.prefix` for all.
      **settings: changes of `config.generate` for this call, such as `beam_size`, `num_return`,
        `length_penalty`, `max_length`.

    Raises:
      UserError: for an unknown setting, or a value that makes no sense.
    """
    check_guidance(self.config, settings.get("guidance", 1))
    values = read_inputs(self.codecs[0], "generate: inputs", inputs, self.config.image.fit)
    return self.generator(self.params, values, prefixes=prefixes, **settings)

  def draw(self, inputs: Iterable[str], **settings: Any) -> Image.Image:
    """Returns one image with the pictures that are generated for some texts, to look at.

    Args:
      inputs: texts.
      **settings: see `generate`; all `num_return` pictures of a text are side by side.

    Raises:
      UserError: if the outputs of this run are texts, and as `generate`.
    """
    if is_text(self.codecs[1]):
      raise UserError("draw: the outputs of this run are texts: use generate")
    texts = as_texts("draw: inputs", inputs)
    outputs = self.generate(texts, **settings)
    return gallery(texts, [[output.value for output in found] for found in outputs])

  def stream(self, text: str, number: int = 0, **settings: Any) -> Iterator[str]:
    """Returns the output for one text in chunks, each as soon as it is generated.

    Args:
      text: the input.
      number: number of the input among several; samples depend on it.
      **settings: changes of `config.generate` for this call; the search must be `beam_size=1` or
        `search="sample"`.

    Raises:
      UserError: for an unknown setting, or a value that makes no sense.
    """
    text = as_text("stream: text", text)
    try:
      number = operator.index(number)
    except TypeError:
      raise UserError(f"stream: number={shown(number)}: use a whole number") from None
    return self.generator.stream(self.params, text, number, **settings)

  def chat(self, **settings: Any) -> Chat:
    """Begins a conversation: `chat.say(text)` returns the answer.

    Args:
      **settings: changes of `config.generate` for the conversation.

    Raises:
      UserError: if the run's task has no dialogues; for an unknown setting or a bad value.
    """
    task = builders.make_task(self.config)
    if not isinstance(task, DialogueTask):
      name = self.config.task.name
      raise UserError(f"a chat needs a run of task.name='dialogue', not '{name}'")
    streams = self.generator.settings.replace(**settings).streams

    def chunks(source: str, number: int) -> Iterator[str]:
      if streams:
        return self.stream(source, number, **{"num_return": 1} | settings)
      ((best, *_),) = self.generator(self.params, [source], **settings)
      return iter([best.text])

    return Chat(task, self.reads_whole, chunks)

  @property
  def longest_input(self) -> int:
    """Most tokens of an input that are read, special tokens counted; longer ones are cut."""
    longest = self.config.generate.max_source_length
    return min(longest, self.layout.window or longest)

  def reads_whole(self, text: str) -> bool:
    """Returns whether an input is short enough to be read without being cut."""
    (ids,) = self.codecs[0].encode([text])
    return len(self.layout.prompt(ids)) <= self.longest_input

  def score(self, inputs: Iterable[str], targets: Iterable[str | Iterable[int]]) -> list[float]:
    """Returns the summed log-probability in nats of each target, given its input.

    Args:
      inputs: texts; long ones are cut as in `generate`.
      targets: texts, to which EOS is added where training texts end with it, or token lists, which
        are taken as they are.

    Raises:
      UserError: for a pair that is longer than the model can read, or ids that do not exist.
    """
    return self._scorer(self.params, *self._encode("score", inputs, targets))

  def attention(
    self,
    inputs: Iterable[str],
    targets: Iterable[str | Iterable[int]],
    warn: bool = True,
  ) -> list[Alignment]:
    """Returns the attention of each target to its input.

    It is that of the decoder layer `config.generate.alignment_layer`, averaged over its heads.

    Args:
      inputs: texts; long ones are cut as in `generate`.
      targets: texts, to which EOS is added, or token lists, which are taken as they are.
      warn: whether inputs that are cut are reported; `generate` has reported its own.

    Raises:
      UserError: for a model without an encoder, or ids that do not exist.
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
      Alignment(source.pieces(source_ids), target.pieces(target_ids), attention)
      for source_ids, target_ids, attention in zip(sources, encoded, weights, strict=True)
    ]

  def draw_attention(self, path: str, text: str, target: str | Sequence[int]) -> None:
    """Draws the attention of a target to its input as a heat map.

    Args:
      path: file to write; its ending selects the format.
      text: the input.
      target: a text, or token ids.

    Raises:
      UserError: if the file cannot be written.
    """
    path = as_path("draw_attention: path", path)
    (alignment,) = self.attention([text], [target])
    draw_heat_map(path, alignment.source, alignment.target, alignment.weights)

  def export(self, folder: str, format: str = "huggingface", architecture: str = "") -> None:
    """Writes the model into a new folder.

    Args:
      folder: a folder that is empty or does not exist yet.
      format: "huggingface" for a folder that transformers loads, with tokenizer and settings;
        "safetensors" for the parameters under the names they have here (int8 weights as made by
        `quantize`); "adapters" for the LoRA adapters alone, under the same names.
      architecture: architecture of transformers, such as "MistralForCausalLM"; by default the first
        one that supports this model's settings.

    Raises:
      UserError: naming the setting that no architecture of transformers supports.
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
    """Returns the token ids of inputs, cut as in `generate`, and of targets."""
    texts = as_texts(f"{name}: inputs", inputs)
    target_ids = as_targets(f"{name}: targets", targets, self.tokenizers[1], self.layout)
    if len(texts) != len(target_ids):
      raise UserError(f"{name} got {len(texts)} inputs but {len(target_ids)} targets")
    longest = self.config.generate.max_source_length
    encoded = cut_long(self.tokenizers[0].encode(texts), self.layout, longest, warn)
    return [self.layout.source(ids) for ids in encoded], target_ids

  def evaluate(
    self, split: str = "test", on_batch: Callable[[int], None] = lambda count: None
  ) -> tuple[dict[str, float | str], list[dict[str, str]]]:
    """Returns metrics of the loss and of generated texts, and rows of texts to look at.

    Args:
      split: "train", "validation" or "test".
      on_batch: called after each generated batch with the number of examples in it.

    Raises:
      UserError: for an unknown split.
    """
    if split not in builders.SPLITS:
      raise UserError(f"evaluate: split={shown(split)}: use {', '.join(builders.SPLITS)}")
    examples = builders.read_examples(self.config, split)
    corpus = builders.make_corpus(self.config, split, self.codecs)
    loader = builders.make_loader(self.config, lambda epoch: corpus, self.parallel, self.codecs)
    objective = builders.make_objective(
      self.config, self.model, self.parallel, self.codecs[1].element
    )
    loss_step = self.parallel.jit(make_loss_step(objective))
    exact = builders.has_likelihood(self.config)
    metrics = loss_metrics(loss_step, self.params, loader, self.parallel, exact=exact)
    task = builders.make_task(self.config)
    generated, rows = output_metrics(self.generator, self.params, task, examples, on_batch)
    return metrics | generated, rows

  @functools.cached_property
  def layout(self) -> Layout:
    """The layout in which the model is given inputs."""
    return builders.make_layout(self.config, self.codecs)

  @functools.cached_property
  def generator(self) -> AnyGenerator:
    """The generator with the run's settings."""
    return builders.make_generator(self.config, self.model, self.codecs, self.parallel)

  @functools.cached_property
  def _scorer(self) -> Scorer:
    if not builders.has_likelihood(self.config):
      name = self.config.model.architecture
      raise UserError(f"score: a model of model.architecture='{name}' has no likelihood of a text")
    return Scorer(self.model, self.parallel, self.layout, self.config.generate.batch_size)

  @functools.cached_property
  def _aligner(self) -> Aligner:
    settings = self.config.generate
    return Aligner(
      self.model, self.parallel, self.layout, settings.batch_size, settings.alignment_layer
    )
