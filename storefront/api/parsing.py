"""Requests in: JSON with exact numbers, forms in UTF-8, and nothing that no database can store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any, Never

from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict
from rest_framework.exceptions import ParseError
from rest_framework.parsers import DataAndFiles, FormParser, JSONParser, MultiPartParser

# An order is flat; a batch of orders is a list of flat objects.
MAX_DEPTH = 8
# Longer than any id, amount or quantity, far shorter than what would cost time to compute with.
MAX_DIGITS = 100


class Unreadable(ValueError):
    """The body is not what its content type says, or holds what no order can hold."""


def parse_json(body: bytes) -> Any:
    """The JSON value, fractions as exact `Decimal`. Raises Unreadable.

    Refused: what `load_json` and `refuse_unstorable` refuse.
    """
    value = load_json(body)
    refuse_unstorable(value)
    return value


def load_json(body: bytes) -> Any:
    """The JSON value, fractions as exact `Decimal`, whatever its texts hold. Raises Unreadable.

    Refused: invalid UTF-8, NaN and Infinity, a name twice in one object, numbers of more than 100
    digits.
    """
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            parse_float=_exact_number,
            parse_int=_whole_number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_names,
        )
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except (ValueError, ArithmeticError) as error:
        raise Unreadable(str(error)) from None


def refuse_unstorable(value: object) -> None:
    """Raises Unreadable for nesting deeper than 8, null bytes, halves of surrogate pairs."""
    _refuse_unstorable(value, MAX_DEPTH)


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _exact_number(digits: str) -> Decimal:
    number = Decimal(digits) if len(digits) <= MAX_DIGITS else None
    # The exponent too: 1e999999999 is short here, and fills the memory once it is an integer.
    if number is None or abs(number.adjusted()) > MAX_DIGITS:
        raise ValueError("a number is too long")
    return number


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _refuse_unstorable(value: object, depth: int) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise Unreadable("a text holds a null byte or half a character")
    elif isinstance(value, list | dict):
        if not depth:
            raise Unreadable("nested too deeply")
        for item in value:
            _refuse_unstorable(item, depth - 1)
        if isinstance(value, dict):
            for item in value.values():
                _refuse_unstorable(item, depth - 1)


class NoFiles(FileUploadHandler):
    """Drops uploaded files while they arrive: no API takes any, and they would fill the disk."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep nothing of it, and pass nothing on."""

    def file_complete(self, file_size: int) -> None:
        """There is no file."""


class ExactJSONParser(JSONParser):
    """`application/json` for the REST dialect."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return parse_json(stream.read())
        except Unreadable as error:
            raise ParseError(str(error)) from None


class Utf8FormParser(FormParser):
    """`application/x-www-form-urlencoded`, in UTF-8 whatever charset is claimed."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return _storable(QueryDict(stream.read(), encoding="utf-8"))


class Utf8MultiPartParser(MultiPartParser):
    """`multipart/form-data`, in UTF-8 whatever charset is claimed; its files were dropped."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> DataAndFiles[Any, Any]:
        context = {**(parser_context or {}), "encoding": "utf-8"}
        parsed = super().parse(stream, media_type, context)
        _storable(parsed.data)
        return parsed


def _storable(form: QueryDict) -> QueryDict:
    try:
        refuse_unstorable(form)
    except Unreadable as error:
        raise ParseError(str(error)) from None
    return form
