"""What files a folder holds, written down when they are complete, and looked at again later."""

import json
import os
import zlib

from tfx_jax.common.whole_file import UNFINISHED, write_whole

MANIFEST = "manifest.json"
MISSING = f"{MANIFEST} is missing: it was not written to its end"

_BLOCK = 1 << 20


def write_manifest(folder: str) -> None:
  """Writes FOLDER/manifest.json: the size and CRC-32 of each file below, whole or not at all."""
  content = _describe(folder)
  text = json.dumps({"crc32": _digest(content), "files": content})
  write_whole(os.path.join(folder, MANIFEST), text)


def find_damage(folder: str, read: str = "") -> str | None:
  """What of a folder is not as its manifest says, in a few words; None if all is.

  Files that the manifest does not name are not looked at.

  Args:
    folder: that holds the files.
    read: beginning of the names of files that are read; of others only the size is looked at.
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
      found = os.path.getsize(path)
      if found != size:
        return f"{name} has {found:,} bytes, not {size:,}"
      if name.startswith(read) and _crc32(path) != crc:
        return f"{name} has other contents"
    except FileNotFoundError:
      return f"{name} is missing"
    except OSError as error:
      return f"{name} cannot be read: {error.strerror}"
  return None


def _describe(folder: str) -> dict[str, tuple[int, str]]:
  """For each file below a folder its size and checksum."""
  found = {}
  for place, _, names in os.walk(folder):
    for name in names:
      path = os.path.join(place, name)
      if name != MANIFEST and not name.startswith(UNFINISHED):
        found[os.path.relpath(path, folder)] = os.path.getsize(path), _crc32(path)
  return dict(sorted(found.items()))


def _digest(content: object) -> str:
  return f"{zlib.crc32(json.dumps(content).encode()):08x}"


def _crc32(path: str) -> str:
  crc = 0
  with open(path, "rb") as file:
    while block := file.read(_BLOCK):
      crc = zlib.crc32(block, crc)
  return f"{crc:08x}"
