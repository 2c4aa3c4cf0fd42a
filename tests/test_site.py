"""The documentation site: every page is in its contents, links lead on as they do on GitHub."""

import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.M | re.S)


def contents():
  """Entries of all toctrees, in order, without options."""
  for path in sorted(DOCS.glob("*.md")):
    for block in TOCTREE.findall(path.read_text()):
      yield from (line for line in block.splitlines() if line and not line.startswith(":"))


def test_every_page_is_in_the_contents_once():
  assert sorted(entry for entry in contents() if "*" not in entry) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_one_title_at_its_top(page):
  text = re.sub(r"^```.*?^```$", "", (DOCS / f"{page}.md").read_text(), flags=re.M | re.S)
  assert text.startswith("# ") and len(re.findall(r"^# ", text, re.M)) == 1


@pytest.mark.parametrize(
  ("target", "folder", "place", "rewritten"),
  [
    ("decoding.md#sampling", "docs", "", "decoding.md#sampling"),
    ("docs/decoding.md", "", "", "decoding.md"),
    ("docs/quickstart.png", "", "", "quickstart.png"),
    ("../README.md", "docs", "", "index.md"),
    ("../launch/tpu_vm.sh", "docs", "", "GITHUB/blob/main/launch/tpu_vm.sh"),
    ("../experiments", "docs", "", "GITHUB/tree/main/experiments"),
    ("../notebooks/decoding.ipynb", "docs", "", "notebooks/decoding.ipynb"),
    ("../docs/scale.md", "notebooks", "notebooks", "../scale.md"),
    ("decoding.ipynb", "notebooks", "notebooks", "decoding.ipynb"),
    ("https://jax.dev", "docs", "", "https://jax.dev"),
    ("#a-part", "docs", "", "#a-part"),
  ],
)
def test_a_link_of_the_repository_leads_to_the_same_on_the_site(
  links, target, folder, place, rewritten
):
  text = f"see [this]({target}) and ![that]({target})"
  expected = text.replace(target, rewritten.replace("GITHUB", links.GITHUB))
  assert links.links_on_site(text, folder, place) == expected


@pytest.fixture
def links(monkeypatch):
  pytest.importorskip("sphinx")
  monkeypatch.syspath_prepend(DOCS)
  yield __import__("repository_links")
  sys.modules.pop("repository_links", None)
