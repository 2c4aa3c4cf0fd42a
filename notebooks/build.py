"""Makes the notebooks: executes each percent-format source and writes it with its outputs.

`python notebooks/build.py [NAME …]` needs `pip install -e '.[notebooks]'`. Sources are run in an
empty folder, on the CPU, as many steps as they say, or as TFX_JAX_NOTEBOOK_STEPS says.
"""

import base64
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
# A notebook must be readable on GitHub.
MAX_BYTES = 500_000


def names() -> list[str]:
  """Returns the names of all notebooks."""
  return sorted(path.stem for path in HERE.glob("*.py") if path.name != "build.py")


def build(name: str) -> str:
  """Executes a notebook and writes it beside its source; returns a line about it.

  Raises:
    nbclient.exceptions.CellExecutionError: if a cell fails.
    ValueError: if the notebook is too large.
  """
  import jupytext
  import nbformat
  from nbclient import NotebookClient

  notebook = jupytext.read(HERE / f"{name}.py", fmt="py:percent")
  start = time.perf_counter()
  with tempfile.TemporaryDirectory() as clone:
    folder = pathlib.Path(clone, "notebooks")
    folder.mkdir()
    pathlib.Path(clone, "launch").symlink_to(HERE.parent / "launch")
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
      notebook, timeout=1800, kernel_name="python3", resources=resources, record_timing=False
    ).execute()
  seconds = time.perf_counter() - start
  notebook.metadata = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
  }
  for number, cell in enumerate(notebook.cells):
    cell.id, cell.metadata = f"cell-{number}", {}
    if cell.cell_type == "code":
      cell.outputs = [settled(output) for output in joined(cell.outputs)]
  text = nbformat.writes(notebook, version=4) + "\n"
  if len(text) > MAX_BYTES:
    raise ValueError(f"{name}.ipynb has {len(text):,} bytes: at most {MAX_BYTES:,}")
  (HERE / f"{name}.ipynb").write_text(text)
  return f"{name}: {seconds:.0f} s, {len(text) / 1000:.0f} kB"


def joined(outputs: Sequence[Any]) -> list[Any]:
  """Returns outputs with those of a stream that follow each other as one."""
  result: list[Any] = []
  for output in outputs:
    last = result[-1] if result else None
    if last and output.output_type == last.output_type == "stream" and output.name == last.name:
      last.text += output.text
    else:
      result.append(output)
  return result


def settled(output: Any) -> Any:
  """Returns an output as it looks at the end, without what differs from one run to the next.

  A progress bar is a line that was overwritten; a PNG file names the version of its program.
  """
  if output.output_type == "stream":
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in output.text.split("\n"))
    output.text = "\n".join(line.rstrip() for line in lines)
  elif picture := output.data.get("image/png"):
    output.data["image/png"] = base64.b64encode(without_texts(base64.b64decode(picture))).decode()
  return output


def without_texts(png: bytes) -> bytes:
  """Returns a PNG file without its chunks of text and time."""
  kept, place = png[:8], 8
  while place < len(png):
    end = place + 12 + int.from_bytes(png[place : place + 4])  # length, name, data, checksum
    if png[place + 4 : place + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"tIME"):
      kept += png[place:end]
    place = end
  return kept


def main(chosen: Sequence[str]) -> None:
  """Builds the notebooks of these names; without any, all."""
  os.environ |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent)}
  for name in chosen or names():
    print(build(name), flush=True)


if __name__ == "__main__":
  main(sys.argv[1:])
