"""Telling archives from other files."""

from imagekit.base.streams import Readable
from imagekit.layers import tarformat
from imagekit.layers.compression import open_layer
from imagekit.layers.errors import LayerFormatError


def is_archive(stream: Readable) -> bool:
    """Tell whether ``stream`` begins like a tar archive, packed or not; it is used up by that.

    Only the content counts, as in BuildKit's ADD: the first header must be one, after unpacking
    gzip, bzip2, xz or zstd. zip is never an archive here, and neither is an empty one.
    """
    try:
        _, plain = open_layer(stream)
        block = b""
        while len(block) < tarformat.BLOCK_BYTES:
            piece = plain.read(tarformat.BLOCK_BYTES - len(block))
            if not piece:
                return False
            block += piece
    except LayerFormatError:
        return False
    return tarformat.is_header(block)
