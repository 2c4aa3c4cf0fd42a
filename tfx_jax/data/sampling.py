"""Subword regularization: in every epoch, random segmentations of the texts of a corpus."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tfx_jax.codecs.codec import Codec
from tfx_jax.codecs.text.tokenizer import SentencePieceTokenizer, TextCodec
from tfx_jax.data.corpus import Corpus
from tfx_jax.errors import UserError


class SampledTokenizer(TextCodec):
  """A sentencepiece tokenizer that draws segmentations; the same calls draw the same ones.

  Args:
    tokenizer: the tokenizer to draw from.
    rate: see `SentencePieceTokenizer.sample`.
    seeds: numbers that determine what is drawn.

  Raises:
    UserError: if the tokenizer has only one segmentation of a text.
  """

  def __init__(self, tokenizer: Codec, rate: float, seeds: Sequence[int]) -> None:
    if not isinstance(tokenizer, SentencePieceTokenizer):
      raise UserError(
        "data.source_sampling and data.target_sampling need tokenizer.kind='bpe' or 'unigram'"
      )
    self.vocab_size, self.special_tokens = tokenizer.vocab_size, tokenizer.special_tokens
    self.fingerprint = f"{tokenizer.fingerprint}-sampled-{rate}-{'-'.join(map(str, seeds))}"
    self._tokenizer, self._rate, self._seeds, self._calls = tokenizer, rate, tuple(seeds), 0

  def encode(self, texts: Sequence[str], /) -> list[list[int]]:
    """Returns the ids of each text; each call draws new segmentations."""
    digest = hashlib.blake2b(repr((*self._seeds, self._calls)).encode(), digest_size=8).digest()
    self._calls += 1
    return self._tokenizer.sample(texts, self._rate, int.from_bytes(digest) % (2**32 - 1))

  def decode(self, ids: Sequence[Sequence[int]], /) -> list[str]:  # noqa: D102
    return self._tokenizer.decode(ids)

  def save(self, folder: str) -> None:
    """Saves the tokenizer that segmentations are drawn from."""
    self._tokenizer.save(folder)


class ResampledCorpus:
  """A corpus for each epoch, made while the epoch before is read, and then deleted.

  Args:
    make: makes the corpus of an epoch, in a folder of its own.
  """

  def __init__(self, make: Callable[[int], Corpus]) -> None:
    self._make = make
    self._executor = ThreadPoolExecutor(1)
    self._made: dict[int, Future[Corpus]] = {}

  def __call__(self, epoch: int) -> Corpus:
    """Returns the corpus of `epoch`; epochs must be asked for in ascending order."""
    for number in (epoch, epoch + 1):
      if number not in self._made:
        self._made[number] = self._executor.submit(self._make, number)
    for number in [number for number in self._made if number < epoch - 1]:
      # A memory-mapped file stays readable after it is deleted.
      shutil.rmtree(self._made.pop(number).result().folder, ignore_errors=True)
    return self._made[epoch].result()
