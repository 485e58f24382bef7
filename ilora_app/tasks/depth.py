"""Images of more than eight bits, and of fractions, as grey ones of eight."""

import numpy as np
from PIL import Image, ImageOps

_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_BITS = (8, 10, 12, 14, 16)
"""What cameras, scanners and X-ray detectors have."""


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF says that it is to be shown."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # torn EXIF, which raises what it likes, is no torn image
        return image


def of_eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey values to 0 to 255; an image of eight bits stays as it is.

    Pillow cuts all above 255 off. A file does not say how many of its 16 bits are
    used: twelve, of most X-rays, would leave 16 greys of 255 if it were all. Scaling
    by an image's own least and largest value would make any two of one device unlike,
    so it is scaled by the fewest bits that devices have and its largest value needs.

    Raises:
        ValueError: its values are none of an image.

    """
    if image.mode not in (*_DEEP, "F"):
        return image
    values = np.asarray(image).astype(np.float64)
    least, most = values.min(), values.max()
    whole = image.mode != "F" or (most > 1 and np.array_equal(values, np.rint(values)))
    if not whole:
        if not (least >= 0 and most <= 1):  # nor where one of them is no number
            raise ValueError(
                f"its values are fractions from {least:g} to {most:g}; expected "
                "fractions from 0 to 1, or whole numbers from 0 to 65535"
            )
        scale = 1.0
    else:
        if least < 0 or most >= 2 ** _BITS[-1]:
            raise ValueError(
                f"its values are from {least:.0f} to {most:.0f}; expected whole "
                "numbers from 0 to 65535"
            )
        scale = next(2.0**bits - 1 for bits in _BITS if most < 2**bits)
    return Image.fromarray(np.rint(values * (255 / scale)).astype(np.uint8))
