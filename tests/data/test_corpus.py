import json
import os
import resource
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from support.small_codecs import VectorCodec

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.tokenizer import ByteTokenizer, CharacterTokenizer, without_source_suffix
from tfx_jax.data import encoding
from tfx_jax.data.corpus import prepare
from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.sources.formats import open_source

EXAMPLES = [Example("ein Haus", "a house", "noun"), Example("zwei", "2"), Example("ä", "drei")]
TOKENIZER = ByteTokenizer()


class Untouchable:
  def __iter__(self):
    raise AssertionError("the examples were read")


def make(cache, examples=EXAMPLES, fingerprint="f", source=TOKENIZER, target=TOKENIZER, **longest):
  longest = {"max_source_length": 100, "max_target_length": 100} | longest
  return prepare(examples, fingerprint, source, target, str(cache), **longest)


def failure(function):
  with pytest.raises(UserError) as info:
    function()
  assert "\n" not in str(info.value)
  return str(info.value)


def texts(ragged, tokenizer=TOKENIZER):
  return tokenizer.decode(list(ragged))


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_every_pair_is_stored_in_order_and_ends_with_eos(tmp_path, monkeypatch, chunk):
  monkeypatch.setattr(encoding, "_CHUNK", chunk)
  corpus = make(tmp_path)
  assert texts(corpus.sources) == [pair.source for pair in EXAMPLES]
  assert texts(corpus.targets) == [pair.target for pair in EXAMPLES]
  for ragged in (corpus.sources, corpus.targets):
    assert len(ragged) == 3
    assert all(np.flatnonzero(sequence == EOS) == [len(sequence) - 1] for sequence in ragged)
    assert ragged.lengths.dtype == np.int32
    assert ragged.lengths.tolist() == [len(sequence) for sequence in ragged]
    assert all(isinstance(array.base, np.memmap) for array in (ragged.values, ragged.offsets))
    assert ragged[-1].tolist() == ragged[2].tolist() and ragged[-1].size
    with pytest.raises(IndexError):
      ragged[3]


def test_sources_can_be_without_an_end(tmp_path):
  open_ended = without_source_suffix(TOKENIZER)
  usual, changed = make(tmp_path), make(tmp_path, source=open_ended, target=open_ended)
  assert [source.tolist() for source in changed.sources] == [
    source[:-1].tolist() for source in usual.sources
  ]
  assert [*map(list, changed.targets)] == [*map(list, usual.targets)]
  assert TOKENIZER.special_tokens.source_suffix == (EOS,), "the tokenizer itself is as it was"


def test_dropped_pairs_are_counted(tmp_path, monkeypatch):
  monkeypatch.setattr(encoding, "_CHUNK", 2)
  silent = CharacterTokenizer("abcde")
  monkeypatch.setattr(
    silent, "encode", lambda batch: [[4] * (len(text) - text.count("b")) for text in batch]
  )
  examples = [
    Example("aaa", "aaaaa"),
    Example("aaaa", "a"),
    Example("a", "aaaaaa"),
    Example("", "a"),
    Example("a", " \u3000\t"),
    Example("b", "a"),
    Example("a", "b"),
  ]
  corpus = make(
    tmp_path, examples, source=silent, target=silent, max_source_length=4, max_target_length=6
  )
  assert corpus.sources.lengths.tolist() == [4], "EOS is counted"
  assert corpus.targets.lengths.tolist() == [6]
  seconds = corpus.report["seconds"]
  expected = {"pairs_read": 7, "pairs_kept": 1, "pairs_too_long": 2, "pairs_empty": 4}
  expected |= {"source_elements": 4, "target_elements": 6, "pairs_cut": 0, "seconds": seconds}
  expected |= {"target_bytes": 5, "target_words": 1, "records_removed": 0}
  assert expected.items() <= corpus.report.items()
  assert seconds >= 0


def test_where_nothing_is_left_it_says_why(tmp_path):
  message = failure(lambda: make(tmp_path, [*EXAMPLES, Example("", "x")], max_source_length=2))
  assert "4 read: 1 with an empty side, 3 longer than data.source_length=2" in message
  assert "of the 0 read" in failure(lambda: make(tmp_path, []))
  assert os.listdir(tmp_path) == []


def test_the_type_of_the_tokens_follows_the_vocabulary(tmp_path):
  characters = "".join(map(chr, range(0x10000, 0x10000 + 70_000)))
  small, large = (CharacterTokenizer(characters[:size]) for size in (65_532, 65_533))
  pairs = [Example(characters[65_531], characters[65_532])]
  corpus = make(tmp_path, pairs, source=small, target=large)
  assert corpus.sources.values.dtype == np.uint16
  assert corpus.targets.values.dtype == np.int32
  assert corpus.sources[0].tolist() == [65_535, EOS]
  assert corpus.targets[0].tolist() == [65_536, EOS]


def test_the_second_time_nothing_is_read_or_written(tmp_path):
  first = make(tmp_path)
  (folder,) = tmp_path.iterdir()
  before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  second = make(tmp_path, Untouchable())
  assert second.report == first.report
  assert texts(second.sources) == texts(first.sources)
  assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_whatever_decides_the_content_has_its_own_cache(tmp_path):
  make(tmp_path)
  characters = CharacterTokenizer("einHausrdzwhä2 ")
  for number, change in enumerate(
    [
      dict(fingerprint="g"),
      dict(source=characters),
      dict(target=characters),
      dict(max_source_length=99),
      dict(max_target_length=99),
    ]
  ):
    make(tmp_path, **change)
    assert len(list(tmp_path.iterdir())) == number + 2


def test_one_changed_byte_of_a_file_is_never_stale(tmp_path):
  def opened():
    reader = open_source("tsv", str(tmp_path / "a.tsv"), ("de", "en"))
    examples = (Example(record["de"], record["en"]) for record in reader)
    return make(tmp_path / "cache", examples, reader.fingerprint)

  (tmp_path / "a.tsv").write_text("Haus\thouse\n")
  assert texts(opened().sources) == ["Haus"]
  (tmp_path / "a.tsv").write_text("Maus\thouse\n")
  assert texts(opened().sources) == ["Maus"]
  (tmp_path / "a.tsv").write_text("Haus\thouse\n")
  assert texts(opened().sources) == ["Haus"]
  assert len(os.listdir(tmp_path / "cache")) == 2


@pytest.mark.parametrize("error", [UserError, OSError, KeyboardInterrupt])
def test_a_build_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, error):
  monkeypatch.setattr(encoding, "_CHUNK", 1)

  def broken():
    yield EXAMPLES[0]
    assert [name[:4] for name in os.listdir(tmp_path)] == ["tmp-"], "begun, and not yet visible"
    raise error("mine")

  with pytest.raises(error, match=r"^mine$"):
    make(tmp_path, broken())
  assert os.listdir(tmp_path) == []
  assert len(make(tmp_path).sources) == 3


def test_a_killed_build_is_not_seen(tmp_path):
  code = f"""if True:
    import os, signal, sys
    sys.path[:0] = {[os.path.dirname(__file__), *sys.path]!r}
    import test_corpus as t
    def examples():
      yield t.EXAMPLES[0]
      os.kill(os.getpid(), signal.SIGKILL)
    t.encoding._CHUNK = 1
    t.make({str(tmp_path)!r}, examples())
  """
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
  (left,) = os.listdir(tmp_path)
  assert left.startswith("tmp-")
  assert len(make(tmp_path).sources) == 3
  assert left in os.listdir(tmp_path), "whoever makes it may be alive"
  for path in (tmp_path / left, *(tmp_path / left).iterdir()):
    os.utime(path, (0, 0))
  make(tmp_path, fingerprint="g")
  assert left not in os.listdir(tmp_path)
  assert len(os.listdir(tmp_path)) == 2


def test_a_long_build_at_work_is_no_leftover(tmp_path):
  slow = tmp_path / "tmp-corpus-0"
  slow.mkdir()
  (slow / "source_values.bin").write_bytes(b"")
  os.utime(slow, (0, 0))
  make(tmp_path)
  assert slow.exists()


@pytest.mark.parametrize("name", ["source_values.bin", "target_offsets.bin", "report.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "garbage"])
def test_a_damaged_cache_is_made_again(tmp_path, name, damage):
  make(tmp_path)
  (folder,) = tmp_path.iterdir()
  path = folder / name
  content = path.read_bytes()
  match damage:
    case "missing":
      path.unlink()
    case "cut":
      path.write_bytes(content[:-1])
    case "longer":
      path.write_bytes(content + b"}}")
    case "garbage":
      path.write_bytes(b'[{"a": 1}]')
  corpus = make(tmp_path)
  assert texts(corpus.sources) == [pair.source for pair in EXAMPLES]
  assert list(tmp_path.iterdir()) == [folder]
  assert name == "report.json" or path.read_bytes() == content
  make(tmp_path, Untouchable())


def test_who_finishes_first_wins(tmp_path):
  def examples():
    yield EXAMPLES[0]
    make(tmp_path)
    yield from EXAMPLES[1:]

  corpus = make(tmp_path, examples())
  (folder,) = tmp_path.iterdir()
  assert json.loads((folder / "report.json").read_text()) == corpus.report
  assert os.path.samefile(corpus.sources.values.base.filename, folder / "source_values.bin")


def test_a_cache_that_cannot_be_written_is_told_before_reading(tmp_path):
  (tmp_path / "file").write_text("")
  for place in ("file", "file/below"):
    message = failure(lambda place=place: make(tmp_path / place, Untouchable()))
    assert f"data.cache_dir={tmp_path / place}" in message


def test_a_full_disk_is_told_and_left_clean(tmp_path):
  def examples():
    yield from (Example("x" * 60, "y") for _ in range(1000))

  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
  try:
    message = failure(lambda: make(tmp_path, examples()))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert f"data.cache_dir={tmp_path}: File too large" in message
  assert os.listdir(tmp_path) == []


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
  monkeypatch.setattr(encoding, "_CHUNK", 64)
  tracemalloc.start()
  corpus = make(tmp_path, (Example(f"{i:050}", "y") for i in range(20_000)))
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert corpus.report["source_elements"] == 20_000 * 51
  assert peak < 500_000, "the tokens are 2 MB"


def test_blank_texts_and_missing_sources_are_empty(tmp_path):
  examples = [Example("a", "b"), Example(" ", "c"), Example("d", "\t"), Example(None, "e")]
  corpus = make(tmp_path, examples)
  assert texts(corpus.targets) == ["b", "e"]
  assert [len(source) for source in corpus.sources] == [2, 0]
  assert corpus.report["pairs_empty"] == 2


def test_frames_of_any_length_come_back_from_the_disk(tmp_path, monkeypatch):
  monkeypatch.setattr(encoding, "_CHUNK", 2)
  codec, rng = VectorCodec(channels=3), np.random.default_rng(0)
  values = [rng.normal(size=(length, 3)).astype(np.float32) for length in (2, 0, 5, 1, 4)]
  examples = [Example(value, f"{len(value)}") for value in values]
  corpus = make(tmp_path, examples, source=codec)
  assert corpus.report["pairs_empty"] == 1 and corpus.report["source_elements"] == 12
  kept = [value for value in values if len(value)]
  for found, value in zip(corpus.sources, kept, strict=True):
    np.testing.assert_array_equal(found, value)
  assert isinstance(corpus.sources.values.base, np.memmap)
  assert make(tmp_path, Untouchable(), source=codec).sources[3].tolist() == values[4].tolist()
