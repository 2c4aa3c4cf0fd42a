"""A parallel corpus for any two locales, generated offline from Unicode CLDR through Babel.

Slot values (a date, some money, a list of countries …) are drawn once and rendered with the
patterns of CLDR in both locales, so both sides have the same meaning and no word is written by
hand. Sentences of validation and test combine at least three slots, in combinations that are not in
training.
"""

import calendar
import collections
import functools
import hashlib
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import babel
import numpy as np

from tfx_jax.errors import UserError, nearest
from tfx_jax.sources.cldr_text import SECONDS, Item, Locale, Side, Style, inventory

Choice = TypeVar("Choice")
SIZES = {"train": 30_000, "validation": 500, "test": 1_000}
MAX_CHARACTERS = 120
KINDS = {  # kind of sentence -> the groups that its items are drawn from, with equal probability
  "date": "date date date months",
  "time": "time",
  "duration": "duration",
  "relative": "relative",
  "currency": "currency",
  "quantity": "unit unit unit rate percent compact",
  "territory": "territory",
  "language": "language language variety",
  "mixed": (
    "weekday month time date duration relative currency unit rate percent compact territory"
    " language variety"
  ),
}

_VERSION = 1  # of the generator, a part of the fingerprint
_LENGTHS = {"train": (2, 3, 4, 5), "validation": (3, 4, 5), "test": (3, 4, 5)}  # items a sentence
_YEARS = range(1950, 2050)

# In scripts without spaces a character counts as a word: Thai to Khmer, kana, Han, full width.
_UNSPACED = r"[\u0e00-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff65]"
_WORDS = re.compile(rf"{_UNSPACED}|(?:(?!{_UNSPACED})\S)+")


class CldrSource:
  """One split of the built-in corpus; records are `{locale: text, locale: text, 'kind': kind}`.

  Attributes:
    fingerprint: a hash that changes exactly when the records do.

  Raises:
    UserError: for an unknown split, other than two locales, unknown or equal locales; while
      iterating for a locale with too few names.
  """

  def __init__(self, split: str, fields: Sequence[str]) -> None:
    if split not in SIZES:
      raise UserError(f"split: unknown split '{split}'{nearest(split, SIZES)}")
    if isinstance(fields, str) or len(fields) != 2:
      raise UserError(
        f"fields: the CLDR corpus takes two locales such as ('en', 'de'), got {fields}"
      )
    self.split = split
    self.fields = tuple(fields)
    self._locales = tuple(_parse(field) for field in self.fields)
    if self._locales[0] == self._locales[1]:
      raise UserError(f"fields: '{fields[0]}' and '{fields[1]}' are the same locale, name two")
    self.fingerprint = f"cldr-{_VERSION}-babel-{babel.__version__}-{'-'.join(fields)}-{split}"

  def __iter__(self) -> Iterator[dict[str, str]]:
    for *texts, kind in _corpus(*self._locales)[self.split]:
      yield dict(zip(self.fields, texts, strict=True)) | {"kind": kind}


def words(text: str) -> list[str]:
  """Splits a text at white space; scripts without it (Han, kana, Thai …) into characters."""
  return _WORDS.findall(text)


def nearest_neighbour_exact_match(
  train: Sequence[tuple[str, str]],
  test: Sequence[tuple[str, str]],
  features: Callable[[str], Sequence[str]] = words,
) -> float:
  """Returns the exact match (0 to 1) of copying the target of the nearest training source.

  The distance is the Jaccard index of the sets of features; among equally near sources the best one
  counts.

  Args:
    train: pairs of source and target.
    test: pairs of source and target.
    features: source -> its features, words or, for example, character trigrams.
  """
  rows = collections.defaultdict(list)
  sizes = np.zeros(len(train))
  for i, (source, _) in enumerate(train):
    distinct = set(features(source))
    sizes[i] = len(distinct)
    for feature in distinct:
      rows[feature].append(i)
  postings = {feature: np.array(row) for feature, row in rows.items()}
  hits = 0
  for source, target in test:
    distinct = set(features(source))
    shared = [postings[feature] for feature in distinct if feature in postings]
    common = np.bincount(np.concatenate([np.zeros(0, int), *shared]), minlength=len(train))
    jaccard = common / np.maximum(sizes + len(distinct) - common, 1)
    hits += any(train[i][1] == target for i in np.flatnonzero(jaccard == jaccard.max()).tolist())
  return hits / len(test)


def _parse(name: str) -> babel.Locale:
  try:
    return Locale.parse(name.replace("-", "_"))
  except (ValueError, babel.UnknownLocaleError):
    hint = "use a CLDR name such as 'en', 'de' or 'pt_BR'"
    raise UserError(f"fields: unknown locale '{name}'; {hint}") from None


@functools.lru_cache(maxsize=2)
def _corpus(source: babel.Locale, target: babel.Locale) -> dict[str, list[tuple[str, str, str]]]:
  """Returns split -> [(source text, target text, kind)], the same on every machine."""
  sides = Side(source), Side(target)
  items = inventory(sides)
  kinds = {kind: [g for g in groups.split() if items[g]] for kind, groups in KINDS.items()}
  kinds = {kind: gs for kind, gs in kinds.items() if sum(len(items[g]) for g in gs) > 19}
  if len(kinds) < len(KINDS) - 1 or not items["style"] or not items["date"]:
    raise UserError(f"fields: CLDR names too few things in '{source}' or '{target}' for a corpus")
  seen = set(), set()  # texts of all splits: one source has one target, and one target one source
  known = set(), set()  # words of training
  corpus = {}
  for split, size in SIZES.items():
    pairs = []
    for i, (kind, groups) in enumerate(kinds.items(), 1):
      draw = _Draw(split, items, f"{_VERSION} {split} {kind}")
      for style, combination in draw.sentences(kind, groups):
        texts = [side.sentence(style, combination) for side in sides]
        if max(map(len, texts)) > MAX_CHARACTERS or any(map(set.__contains__, seen, texts)):
          continue
        if split != "train" and not all(map(set.issuperset, known, map(words, texts))):
          continue
        for side_texts, text in zip(seen, texts, strict=True):
          side_texts.add(text)
        pairs.append((*texts, kind))
        if len(pairs) >= size * i // len(kinds):
          break
    rng = random.Random(f"{_VERSION} {split}")
    corpus[split] = [pair for _, pair in sorted((rng.random(), pair) for pair in pairs)]
    if split == "train":
      known = tuple({word for pair in pairs for word in words(pair[i])} for i in range(2))
  return corpus


class _Draw:
  """Draws the sentences of one split; a seed gives the same ones in every version of Python."""

  def __init__(self, split: str, items: Mapping[str, Sequence[Item]], seed: str) -> None:
    self.split, self.items = split, items
    self._rng = random.Random(seed)

  def pick(self, choices: Sequence[Choice]) -> Choice:
    """Returns one of the choices; `random.choice` may change between versions of Python."""
    return choices[int(self._rng.random() * len(choices))]

  def item(self, group: str) -> Item:
    """Returns an item of the group; a date, or months of a year, that belong to the split."""
    while True:
      item, year = self.pick(self.items[group]), self.pick(_YEARS)
      if group == "date":
        month = item[3]
        item = (*item[:2], year, month, 1 + self.pick(range(calendar.monthrange(year, month)[1])))
      elif group == "months":
        item = (group, year, *item[2:])
      if group not in ("date", "months") or _split_of([item]) == self.split:
        return item

  def sentences(self, kind: str, groups: Sequence[str]) -> Iterator[tuple[Style, list[Item]]]:
    """Yields (style of the list, its items): in training first each item alone, then lists."""
    if self.split == "train":
      alone = [item for group in dict.fromkeys(groups) for item in self.items[group]]
      for item in alone:
        if _split_of([item]) == self.split:
          yield "standard", [item]
    for _ in range(10 * SIZES[self.split]):
      length = self.pick(_LENGTHS[self.split])
      if kind in ("date", "time"):
        length //= 2  # a date alone has three slots
      items = [self.item(self.pick(groups)) for _ in range(length)]
      if kind == "time":
        items[0] = ("moment", *self.item("date")[1:], *items[0][1:])
      if kind == "duration":
        items.sort(key=lambda item: -SECONDS[item[2]])
      column = {"mixed": slice(1), "duration": slice(2, 3)}.get(kind, slice(None))
      if len({item[column] for item in items}) == length and _split_of(items) == self.split:
        yield self.pick(self.items["style"])[1], items


def _split_of(items: Sequence[Item]) -> str:
  """Returns the split of a combination of slot values; one of fewer than three is for training."""
  slots = sorted({repr(slot) for item in items for slot in _slots(item)})
  digest = hashlib.blake2b(" ".join(slots).encode(), digest_size=4).digest()
  tenth = int.from_bytes(digest, "big") % 10
  return {0: "test", 1: "validation"}.get(tenth, "train") if len(slots) > 2 else "train"


def _slots(item: Item) -> list[Item]:
  """Returns the values of an item that vary independently."""
  match item:
    case "date", _, year, month, day:
      return [("year", year), ("month", month), ("day", day)]
    case "moment", form, year, month, day, hour, minute:
      return [*_slots(("date", form, year, month, day)), ("hour", hour), ("minute", minute)]
    case "months", year, first, last:
      return [("year", year), ("month", first), ("last month", last)]
  return [item]
