import bz2
import gzip
import hashlib
import json
import lzma
import os
import random
import sys
import tracemalloc
import types

import pytest

from tfx_jax.errors import UserError
from tfx_jax.sources.formats import open_source

FIELDS = ("de", "en")
COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def write(path, content):
  data = content.encode() if isinstance(content, str) else content
  path.write_bytes(COMPRESS.get(path.suffix, bytes)(data))
  return str(path)


def write_pair(folder, de="ein Haus\nzwei\n", en="a house\ntwo\n", suffix=""):
  write(folder / f"train.de{suffix}", de)
  write(folder / f"train.en{suffix}", en)
  return str(folder / "train")


def failure(function):
  """The message of the UserError that `function` raises, which must be one line."""
  with pytest.raises(UserError) as info:
    function()
  assert "\n" not in str(info.value)
  return str(info.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_text_aligns_the_files_of_a_prefix(tmp_path, suffix):
  reader = open_source("text", write_pair(tmp_path, suffix=suffix), FIELDS)
  expected = [{"de": "ein Haus", "en": "a house"}, {"de": "zwei", "en": "two"}]
  assert list(reader) == expected
  assert list(reader) == expected, "a reader can be read again"


def test_only_a_line_feed_ends_a_line(tmp_path):
  odd = "a\u2028b\x0bc\x0cd\x85e\rf\r"
  path = write_pair(tmp_path, de=f"\ufeff{odd}\r\n\ufeffy\n\n", en="1\n2\n3")
  records = list(open_source("text", path, FIELDS))
  assert [r["de"] for r in records] == [odd, "\ufeffy", ""]
  assert [r["en"] for r in records] == ["1", "2", "3"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_unequal_line_counts_tell_both(tmp_path, suffix):
  reader = open_source("text", write_pair(tmp_path, en="1\n2\n3\n4\n", suffix=suffix), FIELDS)
  message = failure(lambda: list(reader))
  assert f"train.de{suffix} has 2" in message
  assert f"train.en{suffix} has 4" in message


def test_tsv_takes_the_named_columns_and_does_not_quote(tmp_path):
  path = write(tmp_path / "a.tsv", 'id\t"eins\tone"\n\nid2\tzwei\ttwo\n')
  reader = open_source("tsv", path, ("en", "de"), columns=("id", "de", "en"))
  assert list(reader) == [{"de": '"eins', "en": 'one"'}, {"de": "zwei", "en": "two"}]
  assert "has no 'de', did you mean 'des'" in failure(
    lambda: open_source("tsv", path, FIELDS, columns=("des", "en"))
  )


@pytest.mark.parametrize("line", ["zwei", "zwei\ttwo\tnote"])
def test_tsv_with_other_columns_than_named_tells_the_line(tmp_path, line):
  path = write(tmp_path / "a.tsv", f"eins\tone\n{line}\n")
  told = failure(lambda: list(open_source("tsv", path, FIELDS)))
  assert f"a.tsv, line 2: {line.count(chr(9)) + 1} column" in told and "de, en" in told


def test_columns_are_for_tsv_alone(tmp_path):
  prefix = write_pair(tmp_path)
  assert "data.columns is for data.format='tsv', not 'text'" in failure(
    lambda: open_source("text", prefix, FIELDS, columns=FIELDS)
  )
  path = write(tmp_path / "a.tsv", "one\teins\n")
  parts = f"tsv:{path},{prefix}"
  assert len(list(open_source("text", parts, FIELDS, columns=("en", "de")))) == 3


def test_blank_json_lines_are_skipped_and_counted(tmp_path, caplog):
  path = write(tmp_path / "a.jsonl", '\n{"de": "a"}\n \t\r\n\n{"de": "b"}\n\n')
  for _ in range(2):
    assert [r["de"] for r in open_source("jsonl", path, ("de",))] == ["a", "b"]
  assert [record.getMessage() for record in caplog.records] == [f"{path}: 4 blank line(s) skipped"]


@pytest.mark.parametrize(
  "content", ['{"a.b": "x", "a": {"b": "y"}}', '{"a": {"b": "x"}}', '{"a.b": "x", "a": 3}']
)
def test_a_json_key_with_a_dot_comes_before_a_nested_one(tmp_path, content):
  path = write(tmp_path / "a.jsonl", content)
  assert list(open_source("jsonl", path, ("a.b",))) == [{"a.b": "x"}]


def test_a_json_key_with_a_dot_inside_an_object(tmp_path):
  path = write(tmp_path / "a.jsonl", '{"a": {"b.c": "x"}}')
  assert list(open_source("jsonl", path, ("a.b.c",))) == [{"a.b.c": "x"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_jsonl_reaches_nested_fields_and_passes_the_kind(tmp_path, name):
  rows = [
    {"translation": {"de": "ä\n\u2028", "en": "x"}, "kind": "date"},
    {"translation": {"de": "b", "en": "y"}, "kind": 3},
  ]
  path = write(tmp_path / name, "".join(json.dumps(row) + "\r\n" for row in rows))
  reader = open_source("jsonl", path, ("translation.de", "translation.en"))
  assert list(reader) == [
    {"translation.de": "ä\n\u2028", "translation.en": "x", "kind": "date"},
    {"translation.de": "b", "translation.en": "y"},
  ]


@pytest.mark.parametrize(
  ("line", "expected"),
  [
    ('{"de": "a"', "not JSON"),
    ('["de"]', "not list"),
    ('{"d": {"dee": "a"}}', "no key 'd.de', did you mean 'dee'"),
    ('{"d": "a"}', "not str"),
    ('{"d": {"de": 7}}', "not a string but int"),
    ('{"d": {"de": "\\ud800"}}', "surrogates"),
    ("[" * 100_000, "recursion"),
  ],
)
def test_a_bad_json_line_tells_file_and_line(tmp_path, line, expected):
  path = write(tmp_path / "a.jsonl", '{"d": {"de": "a"}}\n' + line + "\n")
  message = failure(lambda: list(open_source("jsonl", path, ("d.de",))))
  assert "a.jsonl, line 2: " in message
  assert expected in message


def test_bytes_that_are_not_utf8_tell_file_and_line(tmp_path):
  path = write_pair(tmp_path, de=b"gut\nsch\xf6n\n")
  assert "train.de, line 2: not UTF-8" in failure(lambda: list(open_source("text", path, FIELDS)))


def test_missing_and_empty_files_are_told_at_once(tmp_path):
  prefix = str(tmp_path / "train")
  for format in ("tsv", "jsonl"):
    assert prefix in failure(lambda format=format: open_source(format, prefix, FIELDS))
    assert "directory" in failure(lambda f=format: open_source(f, str(tmp_path), FIELDS))
  write(tmp_path / "train.de", "a\n")
  message = failure(lambda: open_source("text", prefix, FIELDS))
  assert "train.en or " in message
  assert "found " + prefix + ".de" in message
  for name, content in (("train.en", b""), ("train.en", b"\xef\xbb\xbf"), ("train.en.gz", b"")):
    path = write(tmp_path / name, content)
    assert f"{path} is empty" in failure(lambda: open_source("text", prefix, FIELDS))
    (tmp_path / name).unlink()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
@pytest.mark.parametrize("name", ["a", "a.gz", "a.GZ"])
def test_the_content_tells_the_compression_and_not_the_name(tmp_path, compress, name):
  text = "\ufeffeins\tone\nzwei\ttwo\n"
  (tmp_path / name).write_bytes(compress(text.encode()))
  (tmp_path / "plain").write_text(text)
  found, plain = (open_source("tsv", str(tmp_path / n), FIELDS) for n in (name, "plain"))
  assert [r["en"] for r in found] == ["one", "two"]
  assert found.fingerprint == plain.fingerprint


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_other_compressed_files_that_are_cut_are_told(tmp_path, compress):
  noise = random.Random(0)
  whole = compress("".join(f"{noise.random()}\t{i}\n" for i in range(9_000)).encode())
  for content in (whole[: len(whole) // 2], whole[:40] + b"\xff" * 100 + whole[140:]):
    (tmp_path / "a").write_bytes(content)
    assert "not a whole " in failure(lambda: list(open_source("tsv", str(tmp_path / "a"), FIELDS)))


@pytest.mark.parametrize(
  ("content", "told"),
  [
    (b"\x28\xb5\x2f\xfd\x24", "compressed by zstd: convert it to text (unzstd)"),
    (b"PK\x03\x04\x14\xff", "a zip archive"),
    ("eins\tone\n".encode("utf-16"), "UTF-16: convert it to text (iconv"),
  ],
)
def test_what_is_no_text_is_named(tmp_path, content, told):
  (tmp_path / "a").write_bytes(content)
  for format in ("tsv", "jsonl"):
    message = failure(lambda f=format: list(open_source(f, str(tmp_path / "a"), FIELDS)))
    assert told in message
  assert told in failure(lambda: list(open_source("files", str(tmp_path / "a"), ("x",))))


@pytest.mark.parametrize("suffix", [".bz2", ".xz"])
def test_aligned_files_may_have_the_ending_of_their_compression(tmp_path, suffix):
  write_pair(tmp_path, suffix=suffix)
  assert len(list(open_source("text", str(tmp_path / "train"), FIELDS))) == 2


def test_parts_of_files_are_in_percent_and_may_have_fractions(tmp_path):
  path = write(tmp_path / "a.txt", "x" * 995 + "y" * 5)
  readers = [open_source("files", path + part, ("t",)) for part in ("[:99.5%]", "[99.5%:]")]
  parts = [record["t"] for reader in readers for record in reader]
  assert parts == ["x" * 995, "y" * 5]
  for part in ("[:10]", "[10:20]", "[:50 %]", "[:1e1%]"):
    told = failure(lambda part=part: open_source("files", path + part, ("t",)))
    assert "in percent" in told and "[:90%]" in told


def test_a_file_is_read_once_whatever_links_lead_to_it(tmp_path):
  books = tmp_path / "books"
  (books / "sub" / "deep").mkdir(parents=True)
  for place in ("a.txt", "sub/b.txt", "sub/deep/c.txt", ".hidden"):
    write(books / place, place)
  for name, target in (("loop", "../books"), ("other", "../books"), ("sub/up", ".."), ("z", "sub")):
    (books / name).symlink_to(target)
  (books / "a-link.txt").symlink_to("sub/b.txt")
  (books / "nowhere").symlink_to("missing")

  def found(pattern):
    return sorted(r["t"] for r in open_source("files", f"{books}{pattern}", ("t",)))

  assert found("") == ["a.txt", "sub/b.txt", "sub/deep/c.txt"]
  assert found("/**/*.txt") == found("/**") == found("")
  assert found("/**/deep/*") == ["sub/deep/c.txt"]
  assert found("/loop/z/*.txt") == ["sub/b.txt"]
  assert found("/*.txt") == ["a.txt", "sub/b.txt"]


def test_a_broken_gzip_file_is_told(tmp_path):
  path = tmp_path / "a.tsv.gz"
  noise = random.Random(0)
  whole = gzip.compress("".join(f"{noise.random()}\t{i}\n" for i in range(30_000)).encode())
  for content in (whole[: len(whole) // 2], whole[:-8] + b"checksum"):
    path.write_bytes(content)
    reader = open_source("tsv", str(path), FIELDS)
    assert "not a whole gzip" in failure(lambda reader=reader: list(reader))
    assert "not a whole gzip" in failure(lambda reader=reader: reader.fingerprint)
  path.write_bytes(whole[:10] + b"\xff" * 100)
  assert "not a whole gzip" in failure(lambda: open_source("tsv", str(path), FIELDS))


def test_the_fingerprint_changes_exactly_with_the_content(tmp_path):
  def fingerprint(name, fields=FIELDS, columns=(), **content):
    (tmp_path / name).mkdir(exist_ok=True)
    return open_source("text", write_pair(tmp_path / name, **content), fields).fingerprint

  base = fingerprint("a")
  assert fingerprint("b") == base, "the path is no content"
  assert fingerprint("c", suffix=".gz") == base, "nor is the compression"
  others = [
    fingerprint("d", de="ein Haus\nzwej\n"),
    fingerprint("e", de="a house\ntwo\n", en="ein Haus\nzwei\n"),
    fingerprint("f", de="ein Haus\n", en="zwei\na house\ntwo\n"),
    fingerprint("a", fields=("en", "de")),
    fingerprint("a", fields=("de",)),
  ]
  path = write(tmp_path / "t.de", '{"de": "\t", "en": "\t"}')
  others += [
    open_source("text", str(tmp_path / "t"), ("de",)).fingerprint,
    open_source("jsonl", path, ("de",)).fingerprint,
    open_source("tsv", path, FIELDS).fingerprint,
    open_source("tsv", path, FIELDS, columns=("en", "de")).fingerprint,
    open_source("jsonl", path, FIELDS).fingerprint,
  ]
  assert len({base, *others}) == len(others) + 1


def test_reading_holds_no_file_in_memory(tmp_path):
  path = write(tmp_path / "a.tsv.gz", ("left\tright " + "side " * 50 + "\n") * 50_000)
  tracemalloc.start()
  reader = open_source("tsv", path, FIELDS)
  assert sum(1 for _ in reader) == 50_000
  assert len(reader.fingerprint) == 32
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 2_000_000, "the text is 13 MB"


def test_a_reader_of_the_users_own(tmp_path, monkeypatch):
  (tmp_path / "own_reader.py").write_text(
    "class Own:\n"
    "  fingerprint = 'own'\n"
    "  def __init__(self, path, fields): self.record = dict.fromkeys(fields, path)\n"
    "  def __iter__(self): return iter([self.record])\n"
    "number = 3\n"
  )
  (tmp_path / "broken_reader.py").write_text("import no_such_module\n")
  monkeypatch.syspath_prepend(str(tmp_path))
  assert list(open_source("own_reader:Own", "p", FIELDS)) == [{"de": "p", "en": "p"}]
  for name, told in (
    ("own_reader:Other", "no class or function 'Other'; known: Own"),
    ("own_reader:number", "no class or function 'number'"),
    ("no.such:Reader", "No module named 'no'"),
    ("broken_reader:Reader", "no_such_module"),
    (":Reader", "unknown"),
  ):
    assert told in failure(lambda name=name: open_source(name, "p", FIELDS))
  sys.modules.pop("own_reader")


def test_what_is_no_reader_is_not_called_or_told_at_once(tmp_path, monkeypatch):
  (tmp_path / "false_readers.py").write_text(
    "class Deaf:\n"
    "  def __init__(self, path, fields): raise AssertionError('it was called')\n"
    "class Anonymous:\n"
    "  def __init__(self, path, fields): pass\n"
    "  def __iter__(self): return iter([])\n"
    "def remove(path, quick=False): raise AssertionError('it was called')\n"
    "def listing(path, fields): return []\n"
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  for name, told in (
    ("Deaf", "is no source: it has no __iter__"),
    ("Anonymous", "is no source: it has no fingerprint"),
    ("listing", "is no source: it has no fingerprint"),
    ("remove", "cannot be called with (path, fields): "),
  ):
    message = failure(lambda name=name: open_source(f"false_readers:{name}", "p", FIELDS))
    assert message.startswith(f"data.format='false_readers:{name}' {told}")
  sys.modules.pop("false_readers")


@pytest.mark.parametrize(
  ("format", "name", "fields", "likely"),
  [
    ("text", "a.jsonl", FIELDS, "jsonl"),
    ("tsv", "a.jsonl.gz", FIELDS, "jsonl"),
    ("jsonl", "a.tsv", FIELDS, "tsv"),
    ("cldr", "a.tsv", FIELDS, "tsv"),
    ("text", "a.txt", ("text",), "lines"),
    ("text", "a.txt", FIELDS, ""),
    ("files", "a.txt", ("text",), ""),
    ("jsonl", "a.jsonl", FIELDS, ""),
  ],
)
def test_a_file_that_looks_like_another_format_says_so(tmp_path, format, name, fields, likely):
  path = str(tmp_path / name)
  hint = f"{path} ends in .{likely or 'x'}: did you mean data.format={likely}?"
  if likely == "lines":
    hint = hint.replace("in .lines", "in .txt")

  def told():
    return failure(lambda: list(open_source(format, path, fields)))

  assert told().endswith(hint) if likely else "did you mean data.format" not in told()
  if format in ("tsv", "jsonl") and likely:  # the same of a file that is there
    write(tmp_path / name, '{"de": "a", "en": "b"}\n' if likely == "jsonl" else "a\tb\n")
    assert told().endswith(hint)


def test_an_unknown_format_names_the_nearest():
  assert "did you mean 'jsonl'" in failure(lambda: open_source("json", "p", FIELDS))


def test_cldr_is_handed_the_split_and_the_fields(monkeypatch):
  module = types.ModuleType("tfx_jax.sources.cldr")
  module.CldrSource = lambda split, fields: (split, fields)
  monkeypatch.setitem(sys.modules, module.__name__, module)
  assert open_source("cldr", "validation", FIELDS) == ("validation", FIELDS)


def test_a_file_is_hashed_once_and_again_when_it_has_changed(tmp_path, monkeypatch):
  path, hashed = tmp_path / "file.txt", []

  def fingerprint():
    return open_source("lines", str(path), ["text"]).fingerprint

  path.write_text("one\n")
  first = fingerprint()
  made = hashlib.blake2b
  monkeypatch.setattr(hashlib, "blake2b", lambda *a, **b: hashed.append(a) or made(*a, **b))
  assert fingerprint() == first and len(hashed) == 1  # the format's, not the content's
  path.write_text("two\n")  # as long
  os.utime(path, ns=(0, 10**18))  # clocks of file systems may be coarse
  assert fingerprint() != first and len(hashed) == 3
