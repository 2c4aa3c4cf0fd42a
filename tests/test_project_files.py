"""Files that tools of others read: they parse, and agree with pyproject.toml."""

import pathlib
import tomllib

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent
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
