"""A file of items as a stream of bytes: gunzipped, without a byte order mark."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO

from mynamo.errors import InvalidRequest

CHUNK = 64 * 1024
_GUNZIPPED = 1024 * 1024
"""Bytes that one step of gunzipping may make: they bound the memory."""
_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_OTHERS = {
    b"\xff\xfe": "UTF-16; convert it: iconv -f utf-16 -t utf-8",
    b"\xfe\xff": "UTF-16; convert it: iconv -f utf-16 -t utf-8",
    b"BZh": "compressed with bzip2; unpack it: bunzip2 -c FILE | mynamo load TABLE -",
    b"\xfd7zXZ": "compressed with xz; unpack it: xz -dc FILE | mynamo load TABLE -",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it: zstd -dc FILE | mynamo load TABLE -",
    b"PK\x03\x04": "a zip archive; unpack it: unzip -p FILE | mynamo load TABLE -",
}
_MAGIC = max(map(len, (*_OTHERS, _UTF8_MARK, _GZIP)))


class BadFile(InvalidRequest):
    """The file cannot be read any further; what came before it was."""


class Source:
    """The bytes of a file, in chunks.

    Args:
        file: as it is opened; a pipe will do.

    Attributes:
        position: bytes of the file that were read so far.
        gzipped: it is compressed; known after the first chunk.

    Raises:
        BadFile: when it is read: it is damaged, or of a kind that is not read here.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.position = 0
        self.gzipped = False
        self._chunks = self._text(_raw(self, file))
        self._held: list[bytes] = []

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> bytes:
        """The next chunk, which is not empty."""
        return self._held.pop() if self._held else next(self._chunks)

    def put_back(self, chunk: bytes) -> None:
        """Give a chunk back: it comes again before all others."""
        if chunk:
            self._held.append(chunk)

    def _text(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        chunks = _begun(chunks)
        first = next(chunks, b"")
        if first.startswith(_GZIP):
            self.gzipped = True
            chunks = _begun(gunzip(first, chunks))
            first = next(chunks, b"")
        for magic, what in _OTHERS.items():
            if first.startswith(magic):
                raise BadFile(f"the file is {what}")
        first = first.removeprefix(_UTF8_MARK)
        if first:
            yield first
        yield from chunks


def gunzip(first: bytes, more: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip of any number of members.

    Raises:
        BadFile: it is damaged, or ends too early.
    """
    unpacker = zlib.decompressobj(wbits=31)
    packed = first
    while True:
        try:
            while packed:
                if unpacker.eof:  # another member, or the padding of a tape
                    packed = packed.lstrip(b"\0")
                    if packed:
                        unpacker = zlib.decompressobj(wbits=31)
                text = unpacker.decompress(packed, _GUNZIPPED)
                packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
                if text:
                    yield text
        except zlib.error as error:
            raise BadFile(f"the gzip data is damaged: {error}") from None
        packed = next(more, b"")
        if not packed:
            break
    if not unpacker.eof:
        raise BadFile("the gzip data ends too early: the file is not complete")


def _raw(source: Source, file: IO[bytes]) -> Iterator[bytes]:
    read = getattr(file, "read1", file.read)  # what a pipe has by now, without waiting for more
    while chunk := read(CHUNK):
        source.position += len(chunk)
        yield chunk


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same, with a first chunk that is long enough to tell what it is."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= _MAGIC:
            break
    if first:
        yield first
    yield from chunks
