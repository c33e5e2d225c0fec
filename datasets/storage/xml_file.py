"""XML files of other people, read element by element; entities and document types are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..errors import InputError

_BLOCK = 1 << 16
_MAX_DEPTH = 50
_MAX_ELEMENT = 64 << 20  # bytes of one child of the root: a track of a day at 30 frames a second


def iter_children(file: BinaryIO, source: object) -> Iterator[Element]:
    """The root of an XML file, empty, then each of its children as soon as it has been read.

    A document type is refused, so that no entity can be declared: neither one that grows to
    gigabytes, nor one that names another file.

    Args:
        file: opened for bytes.
        source: the file, for messages.

    Raises:
        InputError: not XML, with a document type, too deep, or with a child of more than 64 MB.
    """
    reader = _Reader(source)
    size = 0
    while True:
        block = file.read(_BLOCK)
        size += len(block)
        try:
            reader.parser.Parse(block, not block)
        except expat.ExpatError as error:
            raise InputError(f"{source}: is not valid XML ({error}); export it again") from error
        if reader.complete:
            yield from reader.complete
            reader.complete.clear()
            size = 0
        if size > _MAX_ELEMENT:
            raise InputError(f"{source}: has an element of more than {_MAX_ELEMENT >> 20} MB")
        if not block:
            return


class _Reader:
    """Builds one child of the root at a time."""

    def __init__(self, source: object) -> None:
        self.complete: list[Element] = []
        self._source, self._depth = source, 0
        self._builder = TreeBuilder()
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.buffer_text = True

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise InputError(f"{self._source}: its elements are too deep in each other to be read")
        if self._depth == 1:
            self.complete.append(Element(tag, attributes))
        else:
            self._builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if self._depth > 0:
            self._builder.end(tag)
        if self._depth == 1:
            self.complete.append(self._builder.close())
            self._builder = TreeBuilder()

    def _data(self, text: str) -> None:
        if self._depth > 1:
            self._builder.data(text)

    def _refuse_doctype(self, *_: object) -> None:
        raise InputError(
            f"{self._source}: refused for safety (it declares a document type, which may hold "
            "entities); export it again, or take the line <!DOCTYPE ...> out"
        )
