"""Links of the repository's pages on the site, a Sphinx extension.

Pages link to each other and to files as GitHub shows them. On the site, files that are no page lead
to GitHub, the home page begins with the README, notebooks are pages, and the name of a file of the
package leads to its place in the API reference.
"""

import pathlib
import posixpath
import re
import shutil

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
NOTEBOOKS = DOCS / "notebooks"
GITHUB = "https://github.com/tfx-jax/tfx_jax"
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
FILE = re.compile(r"(?:tfx_jax/)?((?:\w+/)*\w+)\.py(?::\s+(\w+))?")


def copy_notebooks(app: Sphinx) -> None:
  """Copies notebooks into the folder that Sphinx reads."""
  shutil.rmtree(NOTEBOOKS, ignore_errors=True)
  NOTEBOOKS.mkdir()
  for path in (ROOT / "notebooks").glob("*.ipynb"):
    shutil.copy2(path, NOTEBOOKS)


def rewrite_links(app: Sphinx, page: str, source: list[str]) -> None:
  """Makes links that hold on GitHub hold on the site; puts the README on the home page."""
  if page == "index":
    source[0] = links_on_site((ROOT / "README.md").read_text(), "", "") + source[0]
  elif page.startswith("notebooks/"):
    source[0] = links_on_site(source[0], "notebooks", "notebooks")
  else:
    source[0] = links_on_site(source[0], "docs", "")
  if page == "tutorials" and any(NOTEBOOKS.glob("*.ipynb")):
    source[0] += "\n```{toctree}\n:glob:\n\nnotebooks/*\n```\n"


def links_on_site(text: str, folder: str, place: str) -> str:
  """Rewrites links of a file in `folder` of the repository for a page in `place` of the site."""

  def rewrite(match: re.Match) -> str:
    path = posixpath.normpath(posixpath.join(folder, match[1]))
    if path == "README.md":
      page = "index.md"
    elif path.startswith("docs/"):
      page = path.removeprefix("docs/")
    elif path.startswith("notebooks/") and path.endswith(".ipynb"):
      page = path
    else:
      return f"]({GITHUB}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"
    return f"]({posixpath.relpath(page, place or '.')}"

  return LINK.sub(rewrite, text)


def link_files(app: Sphinx, tree: nodes.document) -> None:
  """Links names of files, such as `layers/norm.py` or `layers/norm.py: Norm`, to the reference."""
  page = app.env.docname
  folder = page.removeprefix("api/tfx_jax").replace(".", "/") if page.startswith("api/") else ""
  for literal in [*tree.findall(nodes.literal)]:
    match = FILE.fullmatch(literal.astext())
    if not match or isinstance(literal.parent, nodes.reference | pending_xref):
      continue
    places = [f"tfx_jax/{match[1]}", f"tfx_jax{folder}/{match[1]}"]
    if place := next((x for x in places if (ROOT / f"{x}.py").exists()), ""):
      module = place.replace("/", ".").removesuffix(".__init__")
      target = f"{module}.{match[2]}" if match[2] else module
      settings = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refexplicit": True}
      link = pending_xref("", refdoc=page, refwarn=False, **settings)
    elif (ROOT / f"{match[1]}.py").exists():
      link = nodes.reference("", "", refuri=f"{GITHUB}/blob/main/{match[1]}.py")
    else:
      continue
    literal.replace_self(link)
    link += literal


def setup(app: Sphinx) -> dict:
  """Connects the functions above to the events of a build."""
  app.connect("builder-inited", copy_notebooks)
  app.connect("source-read", rewrite_links)
  app.connect("doctree-read", link_files)
  return {"parallel_read_safe": True, "parallel_write_safe": True}
