"""The examples in Python of docs/extending.md, as modules."""

import pathlib
import re
import types

PAGE = pathlib.Path(__file__).parent.parent.parent / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def module(index):
  """A module made of one of the page's examples."""
  made = types.ModuleType(f"example_{index}")
  exec(compile(BLOCKS[index], f"{PAGE.name}, example {index}", "exec"), vars(made))
  return made
