"""The column codec: records of one kind to a sealed body and back, without an object per record on the way.

A body is ``zstd(msgpack({name: [type, encoding, octets]}))``. Encodings (`encodings.py` has the arithmetic):

- ``const``:  one value, the same in every row.
- ``planes``: octet by octet instead of value by value, without zeros at the high end.
- ``steps``:  the first value, then planes of the differences between neighbours. For times.
- ``dict``:   ``[texts, width, indices]`` for ``str`` columns; index of `width` octets (1, 2 or 4) into the texts.
- ``table``:  ``[planes of the distinct values, how many they are, planes of indices (u16)]``. For addresses.
- ``plain``:  little-endian values one after the other. Written for single octets, read for all.
- ``delta``:  ``base(8) width(1) values``: differences, each `width` octets, signed. Read, no longer written.

zstd finds little to repeat here: what it saves is by the statistics of a block, of which there is one for each plane.
docs/decisions/0019 has what each of this is worth.

Before anything is unpacked the limits below hold: a body never costs more than it may.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgpack
import zstandard

from fieldwatch_proto import encodings
from fieldwatch_proto.records import ColumnData, Records, Texts, time_columns
from fieldwatch_proto.schema import CLOCK_COLUMNS, COLUMNS, WIDTHS, Column, Kind

MAX_RAW_BYTES = 16 << 20
MAX_RECORDS = 65_536
MAX_COLUMNS = 256
MAX_TEXT_BYTES = 4_096
MAX_WIDTH = max(WIDTHS.values())
CODEC_MSGPACK_ZSTD = 1
DIGEST_BYTES = 16

_SIGNED = {1: "b", 2: "h", 4: "i"}
_INDEX = {1: "B", 2: "H", 4: "I"}
_INDEX_WIDTH = 4  # of Texts in memory
_TYPES = {*WIDTHS, "str"}
_ENCODINGS = {"const", "planes", "steps", "dict", "table", "plain", "delta"}
_ADDRESSES = {"ip", "mac"}
_compressing = threading.Lock()  # a frame is made in several calls, and there is one compressor
_BLOCK_BYTES = 256  # what is smaller shares its block with its neighbours: a block has a head, too
_PACKER = msgpack.Packer(use_bin_type=True)
# The small tables of level 1 with a thorough search, for matches of six octets at least: shorter ones, found in random
# octets, cost more than they save.
_COMPRESSOR = zstandard.ZstdCompressor(
    compression_params=zstandard.ZstdCompressionParameters.from_level(
        1, source_size=1 << 18, strategy=zstandard.STRATEGY_LAZY2, min_match=6, write_content_size=True
    )
)


class DecodeError(ValueError):
    """A body that does not hold what it says: permanent, resending it changes nothing."""


@dataclass(frozen=True)
class Sealed:
    """A body and what the envelope says of it."""

    kind: Kind
    records: int
    raw_bytes: int
    t_min: int
    t_max: int
    digest: bytes
    body: bytes


def seal(records: Records) -> Sealed:
    """Encode and compress; the digest is over the body as it will be stored and sent."""
    if not 0 < records.count <= MAX_RECORDS:
        raise ValueError(f"a batch holds 1 to {MAX_RECORDS} records, not {records.count}")
    columns = [column for column in (*COLUMNS[records.kind], *CLOCK_COLUMNS) if column.name in records.columns]
    parts = [_PACKER.pack_map_header(len(columns))]
    for column in columns:
        parts += _encode(column, records.columns[column.name], records.count)
    raw_bytes = sum(map(len, parts))
    if raw_bytes > MAX_RAW_BYTES:
        raise ValueError(f"a batch of {raw_bytes} bytes is over the limit of {MAX_RAW_BYTES}")
    body = _compress(parts, raw_bytes)
    t_min, t_max = _times(records)
    return Sealed(records.kind, records.count, raw_bytes, t_min, t_max, digest(body), body)


def _compress(parts: Sequence[bytes], raw_bytes: int) -> bytes:
    """One frame, with a block of its own for each part that is worth one."""
    with _compressing:
        compressor = _COMPRESSOR.compressobj(size=raw_bytes)
        out, waiting, alone = [], False, False
        for part in parts:
            large = len(part) >= _BLOCK_BYTES
            if waiting and (large or alone):
                out.append(compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            out.append(compressor.compress(part))
            waiting, alone = True, large
        out.append(compressor.flush())
    return b"".join(out)


def sealed_column(column: Column, data: ColumnData, count: int) -> tuple[list[bytes], bytes]:
    """One column as it goes into a body, in its parts and compressed alone: for whoever wants to know what it costs."""
    parts = _encode(column, data, count)
    return parts, _compress(parts, sum(map(len, parts)))


def digest(body: bytes) -> bytes:
    """The first 16 octets of BLAKE2b (RFC 7693) over a sealed body."""
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def open_body(kind: Kind, records: int, raw_bytes: int, body: bytes) -> Records:
    """The records of a sealed body. Raises DecodeError where it contradicts itself or breaks a limit.

    Columns that the schema does not know ride along, but for those whose type or encoding is a later one.
    """
    known = {column.name: column.type for column in (*COLUMNS[kind], *CLOCK_COLUMNS)}
    columns: dict[str, ColumnData] = {}
    for name, (type_, data) in open_columns(records, raw_bytes, body, known).items():
        if name in known and type_ != known[name]:
            raise DecodeError(f"column {name} has type {type_}, the schema says {known[name]}")
        if data is not None:
            columns[name] = data
    return Records(kind, records, columns)


def open_columns(
    records: int, raw_bytes: int, body: bytes, known: Container[str] = ()
) -> dict[str, tuple[str, ColumnData | None]]:
    """Name -> (type, data) of every column of a sealed body, whatever its kind. Raises DecodeError.

    None stands for the data of a column in a type or encoding of a later version; one of `known` names must not be.
    """
    columns: dict[str, tuple[str, ColumnData | None]] = {}
    room = MAX_RAW_BYTES
    for name, parts in _unpack(records, raw_bytes, body).items():
        if not (isinstance(name, str) and isinstance(parts, list) and len(parts) == 3):
            raise DecodeError(f"column {name!r:.60} is not [type, encoding, octets]")
        type_, encoding, octets = parts
        if not (isinstance(type_, str) and isinstance(encoding, str)):
            raise DecodeError(f"column {name!r:.60} does not name its type and encoding")
        if name not in known and not (type_ in _TYPES and encoding in _ENCODINGS):
            columns[name] = type_, None
            continue
        room -= records * WIDTHS.get(type_, _INDEX_WIDTH)
        if room < 0:  # a constant of a few octets stands for one in each row
            raise DecodeError(f"the columns of {records} records hold more than {MAX_RAW_BYTES} octets")
        columns[name] = type_, _decode(name, type_, encoding, octets, records)
    return columns


def _unpack(records: int, raw_bytes: int, body: bytes) -> dict[Any, Any]:
    if not 0 < records <= MAX_RECORDS:
        raise DecodeError(f"{records} records, the limit is {MAX_RECORDS}")
    if raw_bytes > MAX_RAW_BYTES:
        raise DecodeError(f"{raw_bytes} raw bytes, the limit is {MAX_RAW_BYTES}")
    try:
        if zstandard.frame_content_size(body) != raw_bytes:
            raise DecodeError("the compressed frame does not hold the stated number of bytes")
        raw = zstandard.ZstdDecompressor(max_window_size=MAX_RAW_BYTES).decompress(body, max_output_size=raw_bytes)
        packed = msgpack.unpackb(
            raw,
            raw=False,
            strict_map_key=True,
            max_map_len=MAX_COLUMNS,
            max_array_len=MAX_RECORDS,
            max_str_len=MAX_TEXT_BYTES,
            max_bin_len=MAX_WIDTH * (records + 1),
            max_ext_len=0,
        )
    except DecodeError:
        raise
    except Exception as problem:  # msgpack and zstandard raise many kinds; all mean the same here
        raise DecodeError(f"the body cannot be unpacked: {problem}") from None
    if not isinstance(packed, dict):
        raise DecodeError("the body is no map of columns")
    return packed


def _times(records: Records) -> tuple[int, int]:
    names = time_columns(records.kind)
    first, last = records.columns[names[0]], records.columns[names[-1]]
    assert isinstance(first, bytes)
    assert isinstance(last, bytes)
    return min(array("q", first)), max(array("q", last))


def _encode(column: Column, data: ColumnData, count: int) -> list[bytes]:
    """One column as parts of msgpack: heads, and planes each for itself."""
    if isinstance(data, Texts):
        data = data.used()
        width = 1 if len(data.values) <= 0x100 else 2 if len(data.values) <= 0x10000 else 4
        indices = data.indices.tobytes() if width == 4 else array(_INDEX[width], data.indices).tobytes()
        texts = [_bounded(text) for text in data.values]
        head = _head(column, "dict") + _PACKER.pack_array_header(3) + _PACKER.pack(texts)
        return [head, *_octets(_PACKER.pack(width), [indices])]
    width = WIDTHS[column.type]
    if len(data) != width * count:
        raise ValueError(f"column {column.name}: {len(data)} octets for {count} records of {width}")
    if data == data[:width] * count:
        return [_head(column, "const") + _PACKER.pack(data[:width])]
    if width == 1:
        return _octets(_head(column, "plain"), [data])
    if column.type == "i64":
        try:
            return _octets(_head(column, "steps"), encodings.steps(data))
        except OverflowError:
            pass  # neighbours at both ends of the range
    if column.type in _ADDRESSES:
        table, rows = encodings.places(data, width)
        distinct = len(table) // width
        if distinct <= count * 3 // 4:
            head = _head(column, "table") + _PACKER.pack_array_header(3)
            indices = array("H", rows).tobytes()
            return [
                *_octets(head, encodings.planes(table, width)),
                *_octets(_PACKER.pack(distinct), encodings.planes(indices, 2)),
            ]
    return _octets(_head(column, "planes"), encodings.planes(data, width))


def _head(column: Column, encoding: str) -> bytes:
    return b"".join(
        (
            _PACKER.pack(column.name),
            _PACKER.pack_array_header(3),
            _PACKER.pack(column.type),
            _PACKER.pack(encoding),
        )
    )


def _octets(head: bytes, parts: Sequence[bytes]) -> list[bytes]:
    """The parts of one ``bin``, behind what comes before it."""
    return [head + _bin_head(sum(map(len, parts))), *parts]


def _bin_head(size: int) -> bytes:
    """What msgpack writes before the octets of a ``bin`` (bin 8, 16, 32), which its packer writes in one piece only."""
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    return b"\xc5" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xc6" + size.to_bytes(4, "big")


def _bounded(text: str) -> str:
    encoded = text.encode("utf-8", "replace")
    return encoded[:MAX_TEXT_BYTES].decode("utf-8", "ignore")


def _decode(name: str, kind: object, encoding: object, octets: Any, count: int) -> ColumnData:
    try:
        if kind == "str" and encoding == "dict":
            texts, width, indices = octets
            places = array("I", array(_INDEX[width], indices))
            if len(places) != count or max(places) >= len(texts) or not all(type(t) is str for t in texts):
                raise DecodeError(f"column {name}: the index does not fit its texts")
            return Texts(texts, places)
        width = WIDTHS[kind]  # type: ignore[index]
        if encoding == "table":
            return _from_table(octets, width, count)
        if type(octets) is not bytes:
            raise DecodeError(f"column {name} holds no octets")
        if encoding == "plain" and len(octets) == width * count:
            return octets
        if encoding == "const" and len(octets) == width:
            return octets * count
        if encoding == "planes":
            return encodings.from_planes(octets, width, count)
        if encoding == "steps" and kind == "i64":
            return encodings.from_steps(octets, count)
        if encoding == "delta" and kind == "i64":
            steps = array(_SIGNED[octets[8]], octets[9:])
            if len(steps) == count - 1:
                first = int.from_bytes(octets[:8], "little", signed=True)
                return array("q", accumulate(steps, initial=first)).tobytes()
    except DecodeError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError):
        pass
    raise DecodeError(f"column {name}: not a column of {count} records ({kind!r:.20}, {encoding!r:.20})")


def _from_table(octets: Any, width: int, count: int) -> bytes:
    table, distinct, indices = octets
    if not 0 < distinct <= count:
        raise ValueError(f"{distinct} distinct values in {count} records")
    values = encodings.from_planes(table, width, distinct)
    return encodings.from_places(values, width, array("H", encodings.from_planes(indices, 2, count)))
