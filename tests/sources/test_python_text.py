import collections
import sysconfig

import pytest

from tfx_jax.errors import UserError
from tfx_jax.sources import python_files, python_text
from tfx_jax.sources.formats import open_source
from tfx_jax.sources.python_files import SPLITS, find_sources

PACKAGES, MODULES = 40, 3
FIELDS = ("body", "summary")


def docstring(package, module):
  many = f"A description of {module} in {package} that is long enough to be taken, as it must be."
  return f'"""Say what {module} is.\n\n{many}\n"""\n'


@pytest.fixture
def root(tmp_path, monkeypatch):
  """A folder of packages p0 …, each with modules m0 …, in place of those that are installed."""
  for i in range(PACKAGES):
    (tmp_path / f"p{i}").mkdir()
    (tmp_path / f"p{i}" / "__init__.py").write_text("")
    for j in range(MODULES):
      (tmp_path / f"p{i}" / f"m{j}.py").write_text(docstring(f"p{i}", f"m{j}"))
  monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
  forget()
  yield tmp_path
  forget()


def forget():
  find_sources.cache_clear()
  python_text._docstrings.cache_clear()


def test_a_link_that_leads_nowhere_is_passed_over(root):
  (root / "p0" / "gone.py").symlink_to("nowhere.py")
  assert sum(map(len, find_sources().splits.values())) == PACKAGES * MODULES


def names(packages=()):
  return {
    split: {file.name for file in files} for split, files in find_sources(packages).splits.items()
  }


def test_splits_share_no_package_and_leave_none_out(root):
  found = names()
  owners = {s: {name.split("/")[0] for name in found[s]} for s in SPLITS}
  assert len(owners["train"]) > len(owners["validation"]) + len(owners["test"])
  assert owners["validation"] and owners["test"]
  assert sum(map(len, owners.values())) == len(set.union(*owners.values())) == PACKAGES
  assert sum(map(len, found.values())) == PACKAGES * MODULES


def test_of_named_packages_splits_share_no_module(root):
  for j in range(60):
    (root / "p1" / f"n{j}.py").write_text(f"x = {j}")
  forget()
  found = names(("p1", "p2"))
  assert all(found.values()) and sum(map(len, found.values())) == 2 * MODULES + 60
  assert {name.split("/")[0] for name in set.union(*found.values())} == {"p1", "p2"}


def test_only_so_many_files_of_a_package_are_read(root, monkeypatch):
  monkeypatch.setattr(python_files, "MOST_FILES", 2)
  count = collections.Counter(n.split("/")[0] for files in names().values() for n in files)
  # An empty file counts before it is read.
  assert count.total() == sum(min(count[f"p{i}"], 2) for i in range(PACKAGES)) > PACKAGES
  assert sum(map(len, names(("p1", "p2")).values())) == 2 * MODULES


def test_what_is_no_module_of_the_package_is_left_out(root, caplog):
  before = names()
  for folder in ("p1/tests", "p1/_vendor", "p-1.dist-info", "p1/__pycache__"):
    (root / folder).mkdir()
    (root / folder / "x.py").write_text(f"'{folder}'")
  (root / "p1" / "copy.py").write_text(docstring("p3", "m1"))
  (root / "p1" / "large.py").write_text("x = 1\n" * 100_000)
  (root / "p1" / "x_pb2.py").write_text("x = 1\n")
  (root / "p1" / "data.txt").write_text("x")
  (root / "p1" / "broken.py").write_bytes(b"# \xff\n")
  forget()
  after = names()
  changed = set.union(*before.values()) ^ set.union(*after.values())
  assert changed == {"p1/copy.py", "p3/m1.py"}, "of two equal files there is one"
  assert "1 files of Python packages cannot be read" in caplog.text


def test_the_fingerprint_changes_exactly_with_the_texts(root, tmp_path_factory, monkeypatch):
  def fingerprint(path="train", format="docstrings", fields=FIELDS):
    forget()
    return open_source(format, path, fields).fingerprint

  first = fingerprint()
  others = [fingerprint("test"), fingerprint(fields=FIELDS[::-1]), fingerprint("train:p1+p2"),
            fingerprint(format="python", fields=("text",))]  # fmt: skip
  moved = tmp_path_factory.mktemp("elsewhere")
  root.rename(moved / "lib")
  monkeypatch.setattr(sysconfig, "get_path", lambda name: str(moved / "lib"))
  assert fingerprint() == first
  module = moved / "lib" / "p1" / "m1.py"
  module.write_text(module.read_text() + "x = 1\n")
  others.append(fingerprint())
  assert len({first, *others}) == len(others) + 1


def test_a_docstring_is_in_one_split_once(root):
  for i in range(PACKAGES):
    same = docstring("all", "it") + f"x = {i}\n"
    (root / f"p{i}" / "same.py").write_text(same)
    (root / f"p{i}" / "python2.py").write_text(f"print {i}\n")
  forget()
  found = [
    record["body"] for split in SPLITS for record in open_source("docstrings", split, FIELDS)
  ]
  assert len(found) == len(set(found)) == PACKAGES * MODULES + 1
  assert next(iter(open_source("docstrings", "test", ("summary",)))).keys() == {"summary"}


def test_python_gives_whole_modules(root):
  texts = [r["text"] for split in SPLITS for r in open_source("python", split, ("text",))]
  assert docstring("p7", "m2") in texts and len(texts) == PACKAGES * MODULES


def test_held_out_docstrings_are_so_many_at_most(root, monkeypatch):
  monkeypatch.setattr(python_text, "SIZES", {"test": 2})
  assert len(list(open_source("docstrings", "test", FIELDS))) == 2
  assert len(list(open_source("docstrings", "validation", FIELDS))) > 2


@pytest.mark.parametrize(
  ("format", "path", "fields", "told"),
  [
    ("docstrings", "trian", FIELDS, "no split 'trian', did you mean 'train'"),
    ("docstrings", "train:p41", FIELDS, "no sources of a package 'p41', did you mean 'p"),
    ("docstrings", "train:zzz", FIELDS, "package 'zzz'; name top-level packages, or none for all"),
    ("docstrings", "train", ("body", "sumary"), "no 'sumary', did you mean 'summary'"),
    ("python", "train", ("body",), "no 'body'; known: text"),
    ("python", "test:single", ("text",), "'test:single' is empty: name more packages"),
  ],
)
def test_what_the_user_can_mend_is_one_line(root, format, path, fields, told):
  (root / "single.py").write_text("x = 1\n")
  with pytest.raises(UserError, match=told) as error:
    open_source(format, path, fields)
  assert "\n" not in str(error.value)


def test_the_standard_library_has_docstrings():
  forget()
  pairs = [r for s in SPLITS for r in open_source("docstrings", f"{s}:json+email", FIELDS)]
  assert len(pairs) > 50
  for pair in pairs:
    assert ">>>" not in pair["body"] and "\n" not in pair["summary"]
    assert 3 <= len(pair["summary"].split()) <= 30
