"""A file of items as a stream of bytes, cut into the texts of single items, one at a time."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import orjson

from mynamo.errors import InvalidRequest

LONGEST = 8 * 1024 * 1024
"""Bytes of one item's text. An item of 400 KB, with every character escaped, has 2.4 MB."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+("?)|[\[\]{},:]', re.DOTALL)
_CLOSES = {ord("}"): ord("{"), ord("]"): ord("[")}


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of an item, or of what should be one.

    Attributes:
        line, column: where it begins in the file, from 1; the column counts bytes.
        name: of the list that it stands in, where lists have names.
    """

    text: bytes
    line: int
    column: int = 1
    name: str = ""


def cut_lines(chunks: Iterable[bytes]) -> Iterator[Piece]:
    """The lines that are not blank.

    Raises:
        BadFile: one is too long.
    """
    number, rest = 0, b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            if not line.isspace() and line:
                yield Piece(line, number)
        if len(rest) > LONGEST:
            raise BadFile(f"line {number + 1}: longer than {LONGEST:,} bytes, which no item is")
    if rest and not rest.isspace():
        yield Piece(rest, number + 1)


class Cutter:
    """Cuts JSON into the values at one depth.

    Args:
        depth: 0 for values one after the other, 1 for the members of a list, 2 for those of the
            lists in an object, which have names.

    Attributes:
        names: of the object's members so far, at depth 2.
    """

    def __init__(self, depth: int) -> None:
        self.names: set[str] = set()
        self._depth = depth
        self._buffer = b""
        self._open = bytearray()
        """The brackets that are open."""
        self._begin: int | None = None if depth else 0
        """Where in the buffer the present value begins, if there is one."""
        self._at = 0
        """Where in the buffer the next token is looked for."""
        self._string = b'""'
        self._name = ""
        self._line = 1
        self._line_begins = 0
        """Where in the buffer this line begins; negative once that is cut away."""
        self._counted = 0

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return len(self._buffer)

    def cut(self, chunks: Iterable[bytes]) -> Iterator[Piece]:
        """The values in these chunks.

        Raises:
            BadFile: brackets do not match, a value is too long, or it ends in the middle.
        """
        for chunk in chunks:
            self._buffer += chunk
            yield from self._values()
            self._cut_away()
            if len(self._buffer) > LONGEST:
                line, column = self._position(self._at)
                raise BadFile(
                    f"line {line}, column {column}: a value is longer than {LONGEST:,} bytes, "
                    "which no item is"
                )
        if self._open:
            line, column = self._position(len(self._buffer))
            raise BadFile(f"line {line}, column {column}: the JSON ends in the middle")
        if self._begin is not None:
            yield from self._piece(len(self._buffer))

    def _values(self) -> Iterator[Piece]:
        depth = self._depth
        while match := _TOKEN.search(self._buffer, self._at):
            kind = self._buffer[match.start()]
            if kind == 0x22:
                if not match[1]:  # the string ends in a later chunk
                    self._at = match.start()
                    return
                if len(self._open) == 1:
                    self._string = match[0]
            elif kind == 0x3A:
                if depth == 2 and len(self._open) == 1:
                    self._name = _text(self._string)
                    self.names.add(self._name)
            elif kind == 0x2C:
                if len(self._open) == depth and self._begin is not None:
                    yield from self._piece(match.start())
                    self._begin = match.end()
            elif kind in b"[{":
                self._open.append(kind)
                if depth and len(self._open) == depth and kind == 0x5B:
                    self._begin = match.end()
            else:
                if not self._open or self._open.pop() != _CLOSES[kind]:
                    line, column = self._position(match.start())
                    raise BadFile(f"line {line}, column {column}: {chr(kind)!r} closes nothing")
                if depth == 0 and not self._open:
                    yield from self._piece(match.end())
                    self._begin = match.end()
                elif len(self._open) == depth - 1 and self._begin is not None:
                    yield from self._piece(match.start())
                    self._begin = None
            self._at = match.end()
        # What is left has no token in it, and need not be looked at again.
        self._at = len(self._buffer)

    def _piece(self, end: int) -> Iterator[Piece]:
        begin = self._begin or 0
        text = self._buffer[begin:end]
        if not text or text.isspace():
            return
        line, column = self._position(begin + len(text) - len(text.lstrip()))
        yield Piece(text.strip(), line, column, self._name)

    def _position(self, at: int) -> tuple[int, int]:
        """Line and column of an offset in the buffer; it must not be before the last one asked."""
        self._line += self._buffer.count(b"\n", self._counted, at)
        newline = self._buffer.rfind(b"\n", self._counted, at)
        if newline >= 0:
            self._line_begins = newline + 1
        self._counted = at
        return self._line, at - self._line_begins + 1

    def _cut_away(self) -> None:
        """Drop the part of the buffer that is no longer needed."""
        done = self._at if self._begin is None else min(self._at, self._begin)
        self._position(max(done, self._counted))
        self._buffer = self._buffer[done:]
        self._at -= done
        self._counted -= done
        self._line_begins -= done
        if self._begin is not None:
            self._begin -= done


def _text(string: bytes) -> str:
    try:
        return str(orjson.loads(string))
    except orjson.JSONDecodeError:
        return string.decode("utf-8", "replace")


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
        """Put a chunk back: it is the next one again."""
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
