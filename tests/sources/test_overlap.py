import pytest

from tfx_jax.errors import UserError
from tfx_jax.sources.overlap import WithoutOverlap, normalise


class Records:
  """A reader of records with one field."""

  def __init__(self, *texts, fingerprint="f"):
    self.texts, self.fingerprint = texts, fingerprint

  def __iter__(self):
    return iter([{"x": text} for text in self.texts])


def words(record):
  return map(normalise, record["x"].split())


def without(reader, *others, keys=words):
  return WithoutOverlap(reader, others, keys)


def test_only_letters_and_digits_count():
  assert normalise("Don\u2019t “go” to No. 5_b!") == normalise("dont GO to no 5B") == "dontgotono5b"
  assert normalise("Größe, 今天!") == "größe今天"
  assert normalise("a b") != normalise("a c")


@pytest.mark.parametrize(
  ("one", "other", "same"),
  [
    ("\u0915\u093f", "\u0915\u093e", False),  # Devanagari ki and ka
    ("\u0e01\u0e34\u0e19", "\u0e01\u0e19", False),  # Thai, with a vowel sign and without
    ("caf\u00e9", "cafe\u0301", True),
    ("CAFE\u0301!", "caf\u00e9", True),
    ("\u1112\u1161\u11ab", "\ud55c", True),  # Hangul as letters and as a syllable
    ("I \u2764\ufe0f you", "I you", True),
  ],
)
def test_vowel_signs_and_accents_are_part_of_letters_however_they_are_coded(one, other, same):
  assert (normalise(one) == normalise(other)) == same


def test_leaving_out_everything_is_an_error_that_counts():
  reader = without(Records("a", "b c"), Records("a c"))
  with pytest.raises(UserError, match=r"^data\.remove_overlap left out all 2 records"):
    list(reader)
  assert list(without(Records(), Records("a"))) == []


def test_records_that_share_a_key_are_left_out_and_counted():
  reader = without(Records("a b", "c", "", "D! e", "f"), Records("g b"), Records("x", "d"))
  assert reader.removed is None
  for _ in range(2):
    assert [record["x"] for record in reader] == ["c", "", "f"]
    assert reader.removed == 2


def test_keys_without_letters_and_digits_are_nothing_in_common():
  texts = ["! ?", "a !"]
  reader = without(Records(*texts), Records("? !"), keys=lambda record: record["x"].split())
  assert [record["x"] for record in reader] == texts


def test_what_was_not_read_to_the_end_is_not_counted():
  reader = without(Records("a", "b", "a"), Records("a"))
  assert next(iter(reader)) == {"x": "b"}
  assert reader.removed is None


@pytest.mark.parametrize("others", [(), (Records(),), (Records("z"),)])
def test_with_nothing_in_common_all_stay(others):
  reader = without(Records("a b", "c"), *others)
  assert len(list(reader)) == 2 and reader.removed == 0


def test_the_fingerprint_follows_what_decides_the_content():
  plain = without(Records("a"), Records("b c"))
  assert plain.fingerprint == without(Records("a"), Records("c"), Records("B!")).fingerprint
  different = [
    Records("a").fingerprint,
    plain.fingerprint,
    without(Records("a", fingerprint="g"), Records("b c")).fingerprint,
    without(Records("a"), Records("b")).fingerprint,
    without(Records("a"), Records("bc")).fingerprint,
    without(Records("a"), Records("b c"), keys=lambda record: [record["x"]]).fingerprint,
  ]
  assert len(set(different)) == len(different)
