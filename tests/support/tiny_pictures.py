"""Files of small pictures with texts."""

import json

import numpy as np

from tfx_jax.common.picture_files import write_picture


def idx(array):
  """The content of an IDX file of bytes."""
  sizes = np.array(array.shape, ">u4").tobytes()
  return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write_idx(prefix, images, labels):
  """Writes pictures, uint8 [N,H,W], and labels, uint8 [N], as MNIST has them."""
  for kind, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
    with open(f"{prefix}-{kind}", "wb") as file:
      file.write(idx(array))


def write_digits(folder, count=40):
  """Writes MNIST's four files, with noise for digits."""
  rng = np.random.default_rng(0)
  for split in ("train", "t10k"):
    images = rng.integers(0, 256, (count, 28, 28), np.uint8)
    write_idx(folder / split, images, rng.integers(0, 10, count, np.uint8))


def write_folder(folder, count=40, size=8):
  """Writes squares of one colour, named in two languages, and their metadata."""
  folder.mkdir(parents=True)
  lines = []
  for number in range(count):
    colour, name = ((220, 30, 30), "red") if number % 2 else ((30, 30, 220), "blue")
    picture = np.full((size, size, 3), 255, np.uint8)
    picture[: 1 + number % size] = colour
    write_picture(str(folder / f"{number}.png"), picture)
    text = f"{name} {number % size}"
    line = {"file_name": f"{number}.png", "text": text, "names": f"{text} = {text}"}
    lines.append(json.dumps(line))
  (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
