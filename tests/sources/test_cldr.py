import collections
import hashlib
import itertools
import os
import subprocess
import sys

import babel
import pytest

from tfx_jax.errors import UserError
from tfx_jax.sources import cldr
from tfx_jax.sources.cldr import CldrSource, nearest_neighbour_exact_match, words
from tfx_jax.sources.cldr_text import CURRENCIES, LANGUAGES, TERRITORIES, UNITS, Locale, Side

SPLITS = ("train", "validation", "test")
MIDDLE = {"train": 10_000, "validation": 100, "test": 300}
SMALL = {"train": 2_000, "validation": 20, "test": 50}


def read(fields, sizes):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(cldr, "SIZES", sizes)
    cldr._corpus.cache_clear()
    rows = {split: list(CldrSource(split, fields)) for split in SPLITS}
  cldr._corpus.cache_clear()
  return rows


@pytest.fixture(
  scope="module",
  params=[(("en", "de"), cldr.SIZES), (("zh", "ar"), MIDDLE)],
  ids=["en-de", "zh-ar"],
)
def corpus(request):
  fields, sizes = request.param
  rows = read(fields, sizes)
  assert {split: len(rows[split]) for split in SPLITS} == sizes
  return fields, rows


@pytest.fixture(scope="module")
def spoken():
  """The corpus en-fr as split -> [items of the sentence], caught where they are put into words."""
  items_of = {}

  class Recorder(Side):
    def sentence(self, style, items):
      text = super().sentence(style, items)
      items_of[text] = items
      return text

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(cldr, "Side", Recorder)
    rows = read(("en", "fr"), MIDDLE)
  return {split: [items_of[row["en"]] for row in rows[split]] for split in SPLITS}


def slots(items):
  found = set()
  for group, *values in items:
    if group in ("date", "moment"):
      found |= set(zip(("year", "month", "day", "hour", "minute"), values[1:], strict=False))
    elif group == "months":
      found |= set(zip(("year", "month", "last month"), values, strict=True))
    else:
      found.add((group, *values))
  return frozenset(found)


def trigrams(text):
  return [text[i : i + 3] for i in range(len(text) - 2)]


def test_kinds_are_balanced(corpus):
  _, rows = corpus
  for split in SPLITS:
    kinds = collections.Counter(row["kind"] for row in rows[split])
    assert set(kinds) == set(cldr.KINDS)
    assert max(kinds.values()) - min(kinds.values()) <= 1


def test_a_text_is_one_plain_line(corpus):
  fields, rows = corpus
  for row in (row for split in SPLITS for row in rows[split]):
    assert list(row) == [*fields, "kind"]
    for text in (row[field] for field in fields):
      assert 0 < len(text) <= cldr.MAX_CHARACTERS
      assert text == " ".join(text.split())
      assert text.replace(" ", "").isprintable(), ascii(text)  # no bidi marks, no other spaces
      assert "{" not in text and "'" not in text and "duration-" not in text


def test_every_word_of_test_and_validation_occurs_in_training(corpus):
  fields, rows = corpus
  for field in fields:
    known = {word for row in rows["train"] for word in words(row[field])}
    for row in rows["validation"] + rows["test"]:
      assert known.issuperset(words(row[field])), row


def test_words_are_those_between_spaces_where_a_script_has_spaces(corpus):
  fields, rows = corpus
  for field in set(fields) - {"zh"}:
    assert all(words(row[field]) == row[field].split() for row in rows["test"])
  assert words("ab, c-d 12:30") == ["ab,", "c-d", "12:30"]
  assert words("2日、10月ab c") == ["2", "日", "、", "10", "月", "ab", "c"]


def test_a_source_has_one_target_and_one_split(corpus):
  fields, rows = corpus
  for field in fields:
    texts = [row[field] for split in SPLITS for row in rows[split]]
    assert len(set(texts)) == len(texts)


def test_copying_the_nearest_target_fails(corpus):
  (source, target), rows = corpus
  train, test = ([(r[source], r[target]) for r in rows[split]] for split in ("train", "test"))
  assert nearest_neighbour_exact_match(train, test) < 0.05
  assert nearest_neighbour_exact_match(train, test, trigrams) < 0.05


def test_held_out_sentences_combine_three_slots_that_training_does_not(spoken):
  combinations = {split: {slots(items) for items in spoken[split]} for split in SPLITS}
  for split in ("validation", "test"):
    assert min(map(len, combinations[split])) >= 3
    assert not combinations[split] & combinations["train"]
  assert not combinations["validation"] & combinations["test"]


def test_splits_share_no_combination_where_few_are_possible():
  items = {
    "territory": [("territory", code) for code in TERRITORIES[:8]],
    "style": [("style", "or")],
  }
  drawn = {}
  for split in SPLITS:
    sentences = cldr._Draw(split, items, "seed").sentences("territory", ["territory"])
    drawn[split] = {frozenset(said) for _, said in itertools.islice(sentences, 500)}
  assert len(drawn["train"]) > 100 and len(drawn["test"]) > 5
  assert min(map(len, drawn["test"] | drawn["validation"])) == 3
  assert len(set.union(*drawn.values())) == sum(map(len, drawn.values()))


def test_a_date_belongs_to_one_split(spoken):
  days = {
    split: {tuple(i[2:5]) for items in spoken[split] for i in items if i[0] in ("date", "moment")}
    for split in SPLITS
  }
  assert len(days["train"]) > 500 and len(days["test"]) > 50
  assert not days["train"] & (days["validation"] | days["test"])


def test_training_has_items_by_themselves(spoken):
  alone = {items[0] for items in spoken["train"] if len(items) == 1}
  assert alone >= {("territory", code) for code in TERRITORIES}
  assert alone >= {("language", code) for code in LANGUAGES}
  assert {item[2] for item in alone if item[0] == "currency"} == set(CURRENCIES)
  assert {item[2] for item in alone if item[0] == "unit"} == set(UNITS)
  assert alone >= {("weekday", day) for day in range(7)}


def test_the_other_direction_is_the_same_corpus():
  assert read(("en", "fr"), SMALL) == read(("fr", "en"), SMALL)


def test_same_in_another_process():
  code = (
    "import hashlib; from tfx_jax.sources import cldr; cldr.SIZES = %r\n"
    "print(hashlib.sha256(repr([list(cldr.CldrSource(s, ('cs', 'ko'))) for s in cldr.SIZES])"
    ".encode()).hexdigest())"
  )
  there = subprocess.run(
    [sys.executable, "-c", code % SMALL],
    env=os.environ | {"PYTHONHASHSEED": "7"},
    capture_output=True,
    text=True,
  )
  rows = read(("cs", "ko"), SMALL)
  here = hashlib.sha256(repr(list(rows.values())).encode()).hexdigest()
  assert there.stdout.strip() == here, there.stderr


def test_a_locale_is_itself_whatever_was_read_before():
  month = ("month", 3)
  names = [Side(Locale.parse(name)).item(month) for name in ("ja", "de", "ar", "de")]
  assert names == ["3月", "März", "مارس", "März"]


def test_marks_of_layout_and_other_spaces_are_gone():
  items = [("territory", "DE"), ("territory", "FR"), ("territory", "IT")]
  assert "\u200f" not in Side(Locale.parse("fa")).sentence("standard", items)
  assert Side(Locale.parse("fr")).item(("currency", 1_500, "EUR")) == "1 500 euros"


def test_fingerprint_tells_contents_apart(monkeypatch):
  choices = [(s, f) for s in SPLITS for f in (("en", "de"), ("de", "en"), ("en", "de_CH"))]
  prints = {CldrSource(*choice).fingerprint for choice in choices}
  assert prints == {CldrSource(*choice).fingerprint for choice in choices}
  monkeypatch.setattr(babel, "__version__", "0.0")
  prints |= {CldrSource(*choice).fingerprint for choice in choices}
  monkeypatch.setattr(cldr, "_VERSION", -1)
  prints |= {CldrSource(*choice).fingerprint for choice in choices}
  assert len(prints) == 3 * len(choices)


def test_what_cldr_has_no_name_for_is_empty():
  side = Side(Locale.parse("de"))
  unnamed = [("territory", "XX"), ("language", "qq"), ("currency", 5, "XQX"), ("variety", "xx_XX")]
  unnamed += [("unit", 5, "length-nonsense"), ("rate", 5, "length-nonsense", "duration-day")]
  assert [side.item(item) for item in unnamed] == [""] * len(unnamed)


@pytest.mark.parametrize(
  ("split", "fields", "message"),
  [
    ("tset", ("en", "de"), "did you mean 'test'"),
    ("test", ("en", "xx"), "unknown locale 'xx'"),
    ("test", ("en", "de foo"), "unknown locale 'de foo'"),
    ("test", ("", "de"), "unknown locale ''"),
    ("test", ("pt_BR", "pt-BR"), "same locale"),
    ("test", ("en",), "two locales"),
    ("test", ("en", "de", "fr"), "two locales"),
    ("test", "de", "two locales"),
    ("test", ("en", "vo"), "too few things"),
  ],
)
def test_bad_input_is_one_clear_line(split, fields, message):
  with pytest.raises(UserError) as error:
    list(CldrSource(split, fields))
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_nearest_neighbour_copies_the_most_alike():
  train = [("a b c", "abc"), ("a b", "ab"), ("d e f g", "defg"), ("b a", "other")]
  assert nearest_neighbour_exact_match(train, [("a b c d", "abc")]) == 1
  assert nearest_neighbour_exact_match(train, [("a b c d", "ab")]) == 0
  assert nearest_neighbour_exact_match(train, [("b a", "ab"), ("b a", "other")]) == 1  # a tie
  assert nearest_neighbour_exact_match(train, [("x", "new"), ("d", "defg")]) == 0.5
  train = [("abcd ef", "1"), ("ef gh", "2"), ("a", "3")]
  assert nearest_neighbour_exact_match(train, [("abcd gh", "2")]) == 1
  assert nearest_neighbour_exact_match(train, [("abcd gh", "2")], trigrams) == 0
