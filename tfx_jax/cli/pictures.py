"""Pictures as the command line reads and writes them: files, and a folder with a page."""

import html
import os
from collections.abc import Sequence

import numpy as np

from tfx_jax.common.picture_files import write_picture
from tfx_jax.common.whole_file import write_whole
from tfx_jax.errors import UserError

_STYLE = (
  "body{font:14px sans-serif;margin:24px}main{display:flex;flex-wrap:wrap;gap:16px}"
  "figure{margin:0;width:160px}img{width:160px;image-rendering:pixelated;border:1px solid #ddd}"
)


def write_pictures(
  folder: str, pictures: Sequence[Sequence[np.ndarray]], texts: Sequence[str]
) -> None:
  """Writes NUMBER.png, or NUMBER-RANK.png for several, and `index.html`, which shows them all.

  Args:
    folder: a new or an empty folder.
    pictures: the pictures of each input, best first, uint8 [H,W,C].
    texts: the inputs, to stand under the pictures.

  Raises:
    UserError: if the folder cannot be written.
  """
  figures = []
  try:
    os.makedirs(folder, exist_ok=True)
    for number, (group, text) in enumerate(zip(pictures, texts, strict=True), 1):
      for rank, picture in enumerate(group, 1):
        name = f"{number:05}-{rank}.png" if len(group) > 1 else f"{number:05}.png"
        write_picture(os.path.join(folder, name), picture)
        caption = html.escape(text)
        figures.append(
          f'<figure><img src="{name}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
        )
    page = (
      f'<!doctype html><meta charset="utf-8"><title>{len(figures)} pictures</title>'
      f"<style>{_STYLE}</style><main>\n" + "\n".join(figures) + "\n</main>\n"
    )
    write_whole(os.path.join(folder, "index.html"), page)
  except OSError as error:
    raise UserError(f"cannot write --output={folder}: {error.strerror}") from error
