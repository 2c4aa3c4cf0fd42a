"""Pictures as frames: each patch is a vector of its values, and nothing is lost."""

import hashlib
from collections.abc import Sequence

import numpy as np

from tfx_jax.codecs.codec import Frames
from tfx_jax.codecs.image.grid import Size, check_patch, checked_cut, join
from tfx_jax.codecs.image.saved import write_codec
from tfx_jax.common.json_object import JsonObject
from tfx_jax.common.picture_files import Picture

_HALF = np.float32(127.5)


class PatchFrames:
  """Pictures of one size as frames, a patch each, row by row, with values from -1 to 1.

  Args:
    size: height and width of pictures.
    patch: height and width of a patch, which divide the size.
    channels: values of a pixel.

  Attributes:
    element: frames of h * w * channels numbers.
    fingerprint: a hash of the arguments.
    shape: shape of a picture, (H, W, C).

  Raises:
    UserError: if patches do not fit the size.
  """

  kind = "frames"

  def __init__(self, size: Size, patch: Size, channels: int) -> None:
    check_patch(size, patch)
    self.shape = (int(size[0]), int(size[1]), channels)
    self.patch = (int(patch[0]), int(patch[1]))
    self.element = Frames(self.patch[0] * self.patch[1] * channels)
    digest = hashlib.blake2b(repr((self.shape, self.patch)).encode(), digest_size=16)
    self.fingerprint = f"frames-{digest.hexdigest()}"

  def encode(self, pictures: Sequence[Picture], /) -> list[np.ndarray]:
    """Returns the frames of each picture, float32 [n,h*w*C].

    Raises:
      UserError: for a picture of another size or number of channels.
    """
    cut = [checked_cut(picture, self.shape, self.patch) for picture in pictures]
    return [patches.reshape(len(patches), -1) / _HALF - 1 for patches in cut]  # [n,h,w,C] -> [n,F]

  def decode(self, sequences: Sequence[np.ndarray], /) -> list[Picture]:
    """Returns the picture of each sequence of n frames; values are rounded to 0 to 255."""
    return [self._picture(np.asarray(frames)) for frames in sequences]

  def measure(self, picture: Picture, /) -> dict[str, int]:
    """Returns 1 picture, and the number of its values, H * W * C."""
    return {"pictures": 1, "values": int(np.prod(picture.shape))}

  def save(self, folder: str) -> None:
    """Writes the codec to a folder.

    Raises:
      UserError: if the folder cannot be written.
    """
    spec = {"size": self.shape[:2], "patch": self.patch, "channels": self.shape[2]}
    write_codec(folder, self.kind, self.fingerprint, spec)

  def _picture(self, frames: np.ndarray) -> Picture:
    values = np.rint(np.clip((frames + 1) * _HALF, 0, 255)).astype(np.uint8)
    return join(values.reshape(-1, *self.patch, self.shape[2]), self.shape)  # [n,F] -> [n,h,w,C]


def make_frames(folder: str, spec: JsonObject) -> PatchFrames:
  """Makes a codec from its description; see `read_codec`."""
  return PatchFrames(tuple(spec["size"]), tuple(spec["patch"]), spec["channels"])
