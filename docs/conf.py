"""Settings of the documentation site: `sphinx-build -n -W docs build/site`."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "tfx_jax"
author = "the tfx_jax authors"
project_copyright = author
html_theme = "furo"
html_title = "tfx_jax"
html_theme_options = {
  "source_repository": "https://github.com/tfx-jax/tfx_jax/",
  "source_branch": "main",
  "source_directory": "docs/",
}
html_copy_source = False
extensions = [
  "myst_nb",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "sphinx.ext.viewcode",
  "api_pages",
  "repository_links",
]

# Notebooks are shown with the outputs that they were saved with. Nothing is loaded from elsewhere.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "special-members": "__call__"}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
# The web page of a run needs them, and the site does not.
autodoc_mock_imports = ["fastapi", "gradio", "uvicorn"]
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Attributes", "params_style"), ("Keys", "params_style")]
default_role = "code"
# Names of other libraries are not looked up, so that the site is built without a connection.
nitpick_ignore_regex = [("py:.*", r"(?!tfx_jax).*")]
