"""Compression and checksums of bodies, as DynamoDB has them."""

from __future__ import annotations

import zlib
from functools import lru_cache

from mynamo.gateway.http.messages import Request, Response
from mynamo.gateway.service_errors import ServiceError

COMPRESS_FROM_BYTES = 4096
"""Smaller answers are not worth it."""
COMPRESS_LEVEL = 1
GZIP = "gzip"
DEFLATE = "deflate"
IDENTITY = "identity"
WINDOW_BITS = {GZIP: 31, DEFLATE: 15}
"""zlib's codes for the header and the trailer around a stream: gzip's own, and zlib's."""
RAW = -15
"""Neither: what some clients send as deflate."""
MOST_MEMBERS = 1000
"""Of a gzip file: each costs time, however little it holds."""
_PIECE = 64 * 1024
_MEMBER = b"\x1f\x8b\x08"
_SECOND_NAMES = {"x-gzip": GZIP}  # RFC 9110, 8.4.1.3


def decompressed(request: Request, limit: int) -> bytes:
    """The request's body as it was before the client compressed it.

    DynamoDB takes gzip and deflate (<https://github.com/scylladb/scylladb/pull/27917>). As in
    Java's `GZIPInputStream`, several gzip members are one body, and what follows the last one and
    does not begin as a member does is left out.

    Args:
        limit: bytes that it may become.

    Raises:
        ServiceError: it is damaged, becomes too large, or is coded in some other way.
    """
    if "content-encoding" not in request.headers:
        return request.body
    stated = request.headers["content-encoding"].strip().lower()
    coding = _SECOND_NAMES.get(stated, stated)
    if coding in (IDENTITY, ""):
        return request.body
    if coding not in WINDOW_BITS:
        raise ServiceError("SerializationException", f"Unsupported content encoding: {coding}")
    try:
        return _members(request.body, limit) if coding == GZIP else _deflated(request.body, limit)
    except (zlib.error, EOFError):
        message = f"The body is not valid {coding}"
        raise ServiceError("SerializationException", message) from None


def compressed(request: Request, response: Response) -> None:
    """Compress an answer in place as the client likes it best, if it does."""
    coding = best_coding(request.headers.get("accept-encoding", ""))
    if coding == IDENTITY:
        return
    stream = zlib.compressobj(COMPRESS_LEVEL, zlib.DEFLATED, WINDOW_BITS[coding])
    response.body = stream.compress(response.body) + stream.flush()
    response.headers["content-encoding"] = coding


def checksum(body: bytes) -> str:
    """The CRC-32 that SDKs compare with what they received, which is the compressed body.

    The service computes it last: <https://github.com/smithy-lang/smithy-rs/issues/129>.
    """
    return str(zlib.crc32(body))


@lru_cache(maxsize=256)  # clients have few
def best_coding(accepted: str) -> str:
    """The coding that an Accept-Encoding header likes best (RFC 9110, 12.5.3): gzip before
    deflate where it likes both alike, and none where it does not want either.
    """
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        weights[_SECOND_NAMES.get(name, name)] = _weight(parameters)
    others = weights.get("*", 0.0)
    found, most = IDENTITY, weights.get(IDENTITY, 0.0)
    for coding in (DEFLATE, GZIP):
        weight = weights.get(coding, others)
        if weight > 0 and weight >= most:
            found, most = coding, weight
    return found


def _weight(parameters: list[str]) -> float:
    """What `q` says, from 0 to 1; 0 if it says something else."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, float(value))
            except ValueError:
                return 0.0
    return 1.0


def _members(data: bytes, limit: int) -> bytes:
    """The content of a gzip file.

    Raises:
        zlib.error, EOFError: it is damaged, or ends too early.
        ServiceError: the content is too large, or cut into too many members.
    """
    view = memoryview(data)
    content, at = _inflated(view, WINDOW_BITS[GZIP], limit)
    parts, left = [content], limit - len(content)
    while view[at : at + len(_MEMBER)] == _MEMBER:
        if len(parts) == MOST_MEMBERS:
            raise _too_large()
        content, size = _inflated(view[at:], WINDOW_BITS[GZIP], left)
        parts.append(content)
        left -= len(content)
        at += size
    return b"".join(parts)


def _deflated(data: bytes, limit: int) -> bytes:
    """The content of a zlib stream, or of a bare one, as browsers and servers take it too."""
    view = memoryview(data)
    try:
        return _inflated(view, WINDOW_BITS[DEFLATE], limit)[0]
    except zlib.error:
        return _inflated(view, RAW, limit)[0]


def _inflated(data: memoryview, window_bits: int, limit: int) -> tuple[bytes, int]:
    """The content of the stream that some data begins with, and the stream's own size.

    It is fed by pieces, because zlib copies what follows the stream's end.
    """
    stream = zlib.decompressobj(window_bits)
    parts: list[bytes] = []
    left = limit
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        parts.append(stream.decompress(piece, left + 1))
        left -= len(parts[-1])
        if left < 0:
            raise _too_large()
        if stream.eof:
            return b"".join(parts), start + len(piece) - len(stream.unused_data)
    raise EOFError


def _too_large() -> ServiceError:
    return ServiceError("RequestEntityTooLarge", "Request size exceeds the limit", 413)
