"""Pages and files that tools of others read: they parse, and name what there is."""

import ast
import pathlib
import re
import tomllib

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "tfx_jax"
PAGES = [
  path.relative_to(ROOT).as_posix()
  for pattern in ("*.md", "docs/*.md", "benchmarks/*.md")
  for path in sorted(ROOT.glob(pattern))
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
YAML = sorted(
  path.relative_to(ROOT).as_posix()
  for pattern in (".github/**/*.yml", "*.cff", ".*.yaml")
  for path in ROOT.glob(pattern)
)


def read(path):
  return yaml.safe_load((ROOT / path).read_text())


@pytest.mark.parametrize("path", YAML)
def test_a_file_is_valid_yaml(path):
  assert isinstance(read(path), dict)


def test_the_workflow_tests_every_supported_python():
  (job,) = read(".github/workflows/tests.yml")["jobs"].values()
  versions = job["strategy"]["matrix"]["python"]
  assert PROJECT["requires-python"] == f">={versions[0]}"
  first, last = (int(version.split(".")[1]) for version in (versions[0], versions[-1]))
  assert versions == [f"3.{minor}" for minor in range(first, last + 1)]
  assert f"Python {versions[0]} to {versions[-1]}" in (ROOT / "README.md").read_text()
  assert any(step.get("run") == "bash .ci/run" for step in job["steps"])


def test_the_citation_is_of_this_version():
  citation = read("CITATION.cff")
  assert citation["version"] == PROJECT["version"]
  assert citation["license"] == PROJECT["license"]
  assert citation["repository-code"] == PROJECT["urls"]["Homepage"]


@pytest.mark.parametrize("template", ["bug", "feature"])
def test_an_issue_template_asks_something(template):
  form = read(f".github/ISSUE_TEMPLATE/{template}.yml")
  assert form["name"] and form["description"]
  kinds = [field["type"] for field in form["body"]]
  assert set(kinds) <= {"textarea", "input", "markdown", "dropdown", "checkboxes"}
  identities = [field["id"] for field in form["body"]]
  assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
  targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())
  assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
  assert [path for path, _ in named(page) if find(path) is None] == []


@pytest.mark.parametrize("page", PAGES)
def test_names_that_a_page_gives_are_in_their_files(page):
  pairs = [(path, name) for path, name in named(page) if name]
  assert [pair for pair in pairs if pair[1] not in definitions(find(pair[0]))] == []


def test_the_page_of_the_architecture_has_every_folder():
  text = (ROOT / "docs/architecture.md").read_text()
  folders = [path.parent.relative_to(ROOT / "tfx_jax") for path in PACKAGE.rglob("__init__.py")]
  assert [str(folder) for folder in folders[1:] if f"`{folder}/`" not in text] == []


def named(page):
  """(path, name or "") of every `path/file.py` and `path/file.py: name` of a page."""
  text = (ROOT / page).read_text()
  return re.findall(r"`((?:\w+/)+\w+\.py)(?::\s+(\w+))?`", text)


def find(path):
  """The file that a page means, seen from the root or from the package; None if there is none."""
  places = [folder / path for folder in (ROOT, PACKAGE) if (folder / path).exists()]
  return places[0] if places else None


def definitions(path):
  """Names of the functions, classes and variables of a file's top level."""
  nodes = ast.parse(path.read_text()).body
  assigned = [node for node in nodes if isinstance(node, ast.Assign | ast.AnnAssign)]
  variables = {x.id for node in assigned for x in ast.walk(node) if isinstance(x, ast.Name)}
  return {getattr(node, "name", None) for node in nodes} | variables
