"""Compression and checksums of bodies, as DynamoDB has them."""

from __future__ import annotations

import zlib

from mynamo.gateway.errors import ServiceError
from mynamo.gateway.http_messages import Request, Response

COMPRESS_FROM_BYTES = 4096
"""Smaller answers are not worth it."""
COMPRESS_LEVEL = 1
_GZIP = 31  # zlib's code for a gzip header and trailer around the stream


def decompressed(request: Request, limit: int) -> bytes:
    """The request's body as it was before the client compressed it.

    Args:
        limit: bytes that it may become.

    Raises:
        ServiceError: it is damaged, becomes too large, or is coded in some other way.
    """
    if "content-encoding" not in request.headers:
        return request.body
    coding = request.headers["content-encoding"].lower()
    if coding in ("identity", ""):
        return request.body
    if coding != "gzip":
        raise ServiceError("SerializationException", f"Unsupported content encoding: {coding}")
    stream = zlib.decompressobj(_GZIP)
    try:
        body = stream.decompress(request.body, limit)
    except zlib.error:
        raise ServiceError("SerializationException", "The body is not valid gzip") from None
    if stream.unconsumed_tail or (len(body) == limit and not stream.eof):
        raise ServiceError("RequestEntityTooLarge", "Request size exceeds the limit", 413)
    if not stream.eof or stream.unused_data:
        raise ServiceError("SerializationException", "The body is not valid gzip")
    return body


def compressed(request: Request, response: Response) -> None:
    """Compress an answer in place if the client takes it."""
    if not _takes_gzip(request):
        return
    stream = zlib.compressobj(COMPRESS_LEVEL, zlib.DEFLATED, _GZIP)
    response.body = stream.compress(response.body) + stream.flush()
    response.headers["content-encoding"] = "gzip"


def checksum(body: bytes) -> str:
    """The CRC-32 that SDKs compare with what they received, which is the compressed body.

    The service computes it last: <https://github.com/smithy-lang/smithy-rs/issues/129>.
    """
    return str(zlib.crc32(body))


def _takes_gzip(request: Request) -> bool:
    accepted = request.headers.get("accept-encoding")
    if not accepted or "gzip" not in accepted:
        return False
    for part in accepted.lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
