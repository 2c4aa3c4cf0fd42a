"""Subword regularisation: a corpus that is segmented anew, by chance, in every epoch."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tfx_jax.codecs.text.tokenizer import SentencePieceTokenizer, Tokenizer
from tfx_jax.data.corpus import Corpus
from tfx_jax.errors import UserError


class SampledTokenizer:
  """A sentencepiece tokenizer whose segmentations are drawn; the same calls draw the same.

  Args:
    tokenizer: whose segmentations they are.
    rate: see `SentencePieceTokenizer.sample`.
    seeds: numbers that decide the draw.

  Raises:
    UserError: if there is nothing to draw.
  """

  def __init__(self, tokenizer: Tokenizer, rate: float, seeds: Sequence[int]):
    if not isinstance(tokenizer, SentencePieceTokenizer):
      raise UserError(
        "data.source_sampling and data.target_sampling need tokenizer.kind='bpe' or 'unigram'"
      )
    self.vocab_size, self.special_tokens = tokenizer.vocab_size, tokenizer.special_tokens
    self.fingerprint = f"{tokenizer.fingerprint}-sampled-{rate}-{'-'.join(map(str, seeds))}"
    self._tokenizer, self._rate, self._seeds, self._calls = tokenizer, rate, tuple(seeds), 0

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text; a second call draws anew."""
    digest = hashlib.blake2b(repr((*self._seeds, self._calls)).encode(), digest_size=8).digest()
    self._calls += 1
    return self._tokenizer.sample(texts, self._rate, int.from_bytes(digest) % (2**32 - 1))


class ResampledCorpus:
  """epoch -> its corpus, made while the epoch before is read; those read are deleted.

  Args:
    make: makes the corpus of an epoch, in a folder of its own.
  """

  def __init__(self, make: Callable[[int], Corpus]):
    self._make = make
    self._executor = ThreadPoolExecutor(1)
    self._made: dict[int, Future[Corpus]] = {}

  def __call__(self, epoch: int) -> Corpus:
    """The corpus of `epoch`; asked for in ascending order."""
    for number in (epoch, epoch + 1):
      if number not in self._made:
        self._made[number] = self._executor.submit(self._make, number)
    for number in [number for number in self._made if number < epoch - 1]:
      # What is mapped into memory stays readable.
      shutil.rmtree(self._made.pop(number).result().folder, ignore_errors=True)
    return self._made[epoch].result()
