"""Image files to one uint8 array."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landscape.errors import DataError
from landscape.progress import progress_bar

if TYPE_CHECKING:
    from PIL import Image

_CHUNK = 250
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}  # 8 bits a channel: they convert without loss
_THREADED_AREA = 96 * 96  # below it, threads only wait for each other: Pillow holds the GIL for most of the time


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read the height and width of an image file, in pixels.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing or no image.
    """
    return _decode(path, None).shape[:2]


def decode_images(
    paths: Sequence[str], size: tuple[int, int], *, resize: bool, desc: str, progress: bool = True
) -> np.ndarray:
    """Decode image files into one array: RGB, 8 bits a channel.

    Gray images get three equal channels; transparency is dropped. Resizing is bilinear and antialiased: the triangle
    filter grows with the reduction, as in torchvision's ``resize(antialias=True)`` for PIL images.

    Args:
        paths: n files.
        size: (height, width) in pixels of the result.
        resize: Whether images of another size are resized; else they are refused.
        desc: What the progress bar says.
        progress: Whether a bar is shown (from 1,000 images on).

    Returns:
        (n, 3, H, W) uint8.

    Raises:
        DataError: A file is missing, no image, truncated, of more than 8 bits a channel, or of another size.
    """
    images = np.empty((len(paths), *size, 3), dtype=np.uint8)
    starts = range(0, len(paths), _CHUNK)

    def work(start: int) -> int:
        for index in range(start, min(start + _CHUNK, len(paths))):
            images[index] = _checked(paths[index], size, resize)
        return min(_CHUNK, len(paths) - start)

    workers = min(8, os.cpu_count() or 1, len(starts)) if size[0] * size[1] >= _THREADED_AREA or resize else 1
    with progress_bar(len(paths), desc=desc, unit="image", enabled=progress and len(paths) >= 1000) as bar:
        if workers <= 1:
            for start in starts:
                bar.update(work(start))
        else:
            pool = ThreadPoolExecutor(workers)
            try:
                for done in pool.map(work, starts):
                    bar.update(done)
            finally:
                pool.shutdown(cancel_futures=True)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _checked(path: str, size: tuple[int, int], resize: bool) -> np.ndarray:
    pixels = _decode(path, size if resize else None)
    if pixels.shape[:2] != size:
        raise DataError(
            f"The images do not all have one size: {path}.",
            expected=f"{size[0]}x{size[1]} pixels (height x width), like the first training image",
            got=f"{pixels.shape[0]}x{pixels.shape[1]}",
            fix="Give image_size=32, say, to have all of them resized (--image-size 32 of `landscape train`).",
        )
    return pixels


def _decode(path: str | os.PathLike[str], size: tuple[int, int] | None) -> np.ndarray:
    """Return (H, W, 3) uint8 pixels, resized where a size is given."""
    from PIL import Image

    try:
        with open(path, "rb") as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in _MODES:
                raise DataError(
                    f"The image {path} cannot be used.",
                    expected="8 bits a channel",
                    got=f"mode {image.mode!r}",
                    fix="Convert it to an 8-bit gray or RGB image.",
                )
            return np.asarray(_resized(_rgb(image), size))
    except DataError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
        raise DataError(
            f"The image {path} is too large.", got=str(error), fix="Make it smaller, or remove it."
        ) from error
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, struct.error and others
        raise DataError(
            f"The image {path} cannot be read.",
            expected="a whole PNG, JPEG, PPM or BMP file",
            got=f"{type(error).__name__}: {error}",
            fix=f"Restore {Path(path).name} from the original, or remove it.",
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in ("P", "PA"):  # by way of RGBA: a palette with transparency would warn
        image = image.convert("RGBA")
    return image.convert("RGB")


def _resized(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    from PIL import Image

    if size is None or image.size == (size[1], size[0]):
        return image
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
