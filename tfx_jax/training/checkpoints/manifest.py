"""Manifest of a folder: sizes and checksums of its files, written once they are complete."""

import json
import os
import zlib

from tfx_jax.common.whole_file import UNFINISHED, write_whole

MANIFEST = "manifest.json"
MISSING = f"{MANIFEST} is missing: it was not written to its end"

_BLOCK = 1 << 20


def write_manifest(folder: str) -> None:
  """Writes FOLDER/manifest.json, the size and CRC-32 of each file in it, atomically."""
  files = _describe(folder)
  text = json.dumps({"crc32": _digest(files), "files": files})
  write_whole(os.path.join(folder, MANIFEST), text)


def find_damage(folder: str, read: str = "") -> str | None:
  """Compares a folder with its manifest; files that the manifest does not name are ignored.

  Args:
    folder: the folder with the files.
    read: prefix of the names of the files whose contents are checked; of others only the size is.

  Returns:
    The first difference, in a few words, or None.
  """
  try:
    with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
      content = json.load(file)
    files = content["files"]
    if _digest(files) != content["crc32"]:
      return f"{MANIFEST} is damaged"
  except FileNotFoundError:
    return MISSING
  except (OSError, ValueError, KeyError, TypeError):
    return f"{MANIFEST} cannot be read"
  for name, (size, crc) in files.items():
    path = os.path.join(folder, name)
    try:
      actual_size = os.path.getsize(path)
      if actual_size != size:
        return f"{name} has {actual_size:,} bytes, not {size:,}"
      if name.startswith(read) and _crc32(path) != crc:
        return f"{name} has other contents"
    except FileNotFoundError:
      return f"{name} is missing"
    except OSError as error:
      return f"{name} cannot be read: {error.strerror}"
  return None


def _describe(folder: str) -> dict[str, tuple[int, str]]:
  """Returns the size and checksum of each file in a folder and its subfolders."""
  files = {}
  for parent, _, names in os.walk(folder):
    for name in names:
      path = os.path.join(parent, name)
      if name != MANIFEST and not name.startswith(UNFINISHED):
        files[os.path.relpath(path, folder)] = os.path.getsize(path), _crc32(path)
  return dict(sorted(files.items()))


def _digest(content: object) -> str:
  return f"{zlib.crc32(json.dumps(content).encode()):08x}"


def _crc32(path: str) -> str:
  crc = 0
  with open(path, "rb") as file:
    while block := file.read(_BLOCK):
      crc = zlib.crc32(block, crc)
  return f"{crc:08x}"
