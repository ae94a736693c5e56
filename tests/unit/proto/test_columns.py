"""The column codec: what goes in comes out, what is hostile stays out, what is small stays small."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import msgpack
import pytest
import zstandard
from bench.site_flows import flow_batches
from fieldwatch_proto.columns import (
    MAX_RAW_BYTES,
    MAX_RECORDS,
    DecodeError,
    Sealed,
    digest,
    open_body,
    open_columns,
    seal,
)
from fieldwatch_proto.records import Records, Texts, column_values, concat, records_of
from fieldwatch_proto.schema import COLUMNS, WIDTHS, Kind
from hypothesis import given
from hypothesis import strategies as st

ZERO: dict[str, object] = {"u8": 0, "u64": 0, "i64": 0, "mac": bytes(6), "ip": bytes(16), "str": ""}
BOUNDS = {"u8": 1 << 8, "u16": 1 << 16, "u32": 1 << 32, "u64": 1 << 64}


def values_of(column_type: str) -> st.SearchStrategy[object]:
    if column_type in BOUNDS:
        return st.integers(0, BOUNDS[column_type] - 1)
    if column_type == "i64":
        return st.integers(-(1 << 63), (1 << 63) - 1)
    if column_type == "f64":
        return st.floats(allow_nan=False)
    if column_type == "str":
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    return st.binary(min_size=WIDTHS[column_type], max_size=WIDTHS[column_type])


def rows_of(kind: Kind) -> st.SearchStrategy[list[dict[str, object]]]:
    return st.lists(st.fixed_dictionaries({c.name: values_of(c.type) for c in COLUMNS[kind]}), min_size=1, max_size=20)


def opened(sealed: Sealed) -> Records:
    return open_body(sealed.kind, sealed.records, sealed.raw_bytes, sealed.body)


@pytest.mark.parametrize("kind", list(Kind))
def test_round_trip(kind: Kind) -> None:
    """Every value of every column type of every kind survives sealing and opening."""

    @given(rows_of(kind))
    def check(rows: list[dict[str, object]]) -> None:
        assert opened(seal(records_of(kind, rows))).rows() == rows

    check()


@given(rows_of(Kind.EVENT), rows_of(Kind.EVENT))
def test_concat_is_one_after_the_other(first: list[dict[str, object]], second: list[dict[str, object]]) -> None:
    """Joining Records keeps the rows and their order, the dictionaries of texts merged."""
    joined = concat([records_of(Kind.EVENT, first), records_of(Kind.EVENT, second)])

    assert joined.rows() == first + second
    assert joined.count == len(first) + len(second)


def metric_rows(count: int) -> list[dict[str, object]]:
    return [{"ts_ns": 10**18 + i * 1000, "name": "frames", "labels": "{}", "value": 1.5} for i in range(count)]


def test_envelope_says_what_is_inside() -> None:
    """Count, first and last time and digest of a sealed batch."""
    sealed = seal(records_of(Kind.METRIC, metric_rows(5)))

    assert (sealed.kind, sealed.records, sealed.t_min, sealed.t_max) == (Kind.METRIC, 5, 10**18, 10**18 + 4000)
    assert sealed.digest == digest(sealed.body)
    assert len(sealed.digest) == 16


def test_regular_columns_cost_next_to_nothing() -> None:
    """A thousand metrics with the same name and regular times: const, dict and delta leave little to compress."""
    assert len(seal(records_of(Kind.METRIC, metric_rows(1000))).body) < 400


def body_of(content: object) -> tuple[int, bytes]:
    raw = msgpack.packb(content)
    return len(raw), zstandard.ZstdCompressor().compress(raw)


@pytest.mark.parametrize(
    "content",
    [
        [],
        5,
        {"ts_ns": 1},
        {"ts_ns": ["i64", "plain", b"short"]},
        {"ts_ns": ["i64", "delta", b""]},
        {"ts_ns": ["i64", "delta", bytes(8) + b"\x03" + bytes(9)]},
        {"ts_ns": ["i64", "delta", b"\xff" * 7 + b"\x7f" + b"\x01" + b"\x7f\x7f"]},
        {"ts_ns": ["u8", "plain", b"\x01\x02\x03"]},
        {"value": ["f64", "planes", bytes(4)]},
        {"value": ["f64", "planes", bytes(27)]},
        {"value": ["f64", "planes", 3]},
        {"ts_ns": ["i64", "steps", bytes(7)]},
        {"ts_ns": ["i64", "steps", bytes(8 + 3)]},
        {"ts_ns": ["i64", "steps", b"\xff" * 7 + b"\x7f" + b"\x02\x00"]},
        {"value": ["f64", "steps", bytes(10)]},
        {"later": ["mac", "table", bytes(9)]},
        {"later": ["mac", "table", [b"\x01\x02", 2, b"\x00\x01\x02"]]},
        {"later": ["mac", "table", [b"\x01\x02", 0, b"\x00\x00\x00"]]},
        {"later": ["mac", "table", [b"\x01\x02", 4, b"\x00\x00\x00"]]},
        {"later": ["mac", "table", [b"\x01\x02", "2", b"\x00\x00\x00"]]},
        {"later": ["mac", "table", [[1], 2, b"\x00\x00\x00"]]},
        {"ts_ns": ["nonsense", "plain", bytes(24)]},
        {"ts_ns": ["i64", "nonsense", bytes(24)]},
        {"ts_ns": [["i64"], {}, bytes(24)]},
        {"name": ["str", "dict", [["a"], 1, b"\x00\x00\x01"]]},
        {"name": ["str", "dict", [["a"], 3, b"\x00\x00\x00"]]},
        {"name": ["str", "dict", [[b"octets"], 1, b"\x00\x00\x00"]]},
        {"name": ["str", "dict", [[], 1, b""]]},
        {"name": ["str", "dict", 7]},
        {f"c{i}": ["u8", "const", b"\x00"] for i in range(300)},
    ],
    ids=lambda content: str(content)[:50],
)
def test_bodies_that_contradict_themselves_are_refused(content: object) -> None:
    """Each is a DecodeError, never another exception."""
    raw_bytes, body = body_of(content)

    with pytest.raises(DecodeError):
        open_body(Kind.METRIC, 3, raw_bytes, body)


@pytest.mark.parametrize(
    ("type_", "encoding", "octets", "values"),
    [
        ("u32", "plain", bytes([1, 0, 0, 0, 2, 1, 0, 0, 3, 0, 0, 0]), [1, 258, 3]),
        ("u32", "const", bytes([5, 0, 0, 0]), [5, 5, 5]),
        ("u32", "planes", bytes([1, 2, 3, 0, 1, 0]), [1, 258, 3]),
        ("i64", "delta", bytes([9, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF, 4]), [9, 8, 12]),
        ("i64", "steps", bytes([9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1]), [9, 8, 8 + 128]),
        ("mac", "table", [bytes([1, 4, 2, 0]), 2, bytes([1, 0, 1])], [b"\4\0\0\0\0\0", b"\1\2\0\0\0\0"] * 2),
        ("str", "dict", [["a", "b"], 1, bytes([1, 0, 1])], ["b", "a", "b"]),
        ("str", "dict", [["a", "b"], 2, bytes([1, 0, 0, 0, 1, 0])], ["b", "a", "b"]),
    ],
)
def test_each_encoding_is_read_for_ever(type_: str, encoding: str, octets: object, values: list[object]) -> None:
    """Octets written out by hand: agents in the field and spools on their cards hold them."""
    raw_bytes, body = body_of({"later": [type_, encoding, octets]})

    data = open_columns(3, raw_bytes, body)["later"][1]

    assert data is not None
    assert column_values(type_, data) == values[:3]


@given(st.integers(1, 600), st.integers(1, 600), st.randoms(use_true_random=False))
def test_many_rows_survive(count: int, distinct: int, chance: random.Random) -> None:
    """Addresses of which few or many are distinct, times near and far from each other, counters of every size."""
    addresses = [chance.randbytes(16) for _ in range(distinct)]
    rows: list[dict[str, object]] = [
        {column.name: ZERO[column.type] for column in COLUMNS[Kind.SIGHTING]}
        | {
            "first_ns": chance.choice([0, 10**18, -(1 << 63), (1 << 63) - 1]) // chance.randint(1, 9),
            "last_ns": 10**18 + chance.randrange(10**9),
            "ip": chance.choice(addresses),
            "mac": chance.choice(addresses)[:6],
            "frames": chance.getrandbits(chance.randint(1, 64)),
            "interface": chance.choice(["eth0", "eth1", ""]),
        }
        for _ in range(count)
    ]

    assert opened(seal(records_of(Kind.SIGHTING, rows))).rows() == rows


def test_a_part_of_many_records_has_its_own_texts_only() -> None:
    """What is cut from a large batch does not carry the texts of the whole."""
    whole = records_of(Kind.METRIC, [row | {"name": f"metric {n}"} for n, row in enumerate(metric_rows(1000))])
    names = whole.columns["name"]
    assert isinstance(names, Texts)
    ten = {name: data[:80] for name, data in whole.columns.items() if isinstance(data, bytes)}
    part = Records(
        Kind.METRIC, 10, {**ten, "name": Texts(names.values, names.indices[990:]), "labels": Texts.repeat("", 10)}
    )

    sealed = seal(part)

    assert opened(sealed).values("name") == [f"metric {n}" for n in range(990, 1000)]
    assert len(sealed.body) < 400


def test_threads_that_seal_at_once_do_not_mix() -> None:
    """There is one compressor, and a body takes several calls of it."""
    parts = [records_of(Kind.METRIC, [row | {"value": n * 1.1} for row in metric_rows(3_000)]) for n in range(8)]

    with ThreadPoolExecutor(4) as pool:
        sealed = list(pool.map(seal, parts * 8))

    assert [opened(one) for one in sealed] == parts * 8


def test_flows_of_a_site_cost_what_is_random_in_them() -> None:
    """A made-up site in 1,600 records: a quarter less than with values one after the other, near what is random."""
    assert len(flow_batches(1, 1_600)[0].body) < 32 * 1_600


def test_unknown_columns_are_kept() -> None:
    """A newer agent's column rides along untouched."""
    raw_bytes, body = body_of({"later": ["u16", "plain", b"\x01\x00\x02\x00"], "value": ["f64", "const", bytes(8)]})

    records = open_body(Kind.METRIC, 2, raw_bytes, body)

    assert records.columns["later"] == b"\x01\x00\x02\x00"


def test_limits_hold_before_unpacking() -> None:
    """A bomb, a lie about the size and an absurd count are refused without their cost."""
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))

    for records, raw_bytes, body in [
        (1, 64 << 20, bomb),
        (1, 1000, bomb),
        (1, MAX_RAW_BYTES + 1, b""),
        (MAX_RECORDS + 1, 10, b""),
        (0, 10, b""),
        (1, 10, b"no zstd frame"),
    ]:
        with pytest.raises(DecodeError):
            open_body(Kind.METRIC, records, raw_bytes, body)


def test_small_bodies_cannot_stand_for_much() -> None:
    """Constants of many columns in many rows, and a column larger than its rows: refused before they take memory."""
    constants = body_of({f"c{number}": ["ip", "const", bytes(16)] for number in range(17)})
    allowed = body_of({f"c{number}": ["ip", "const", bytes(16)] for number in range(16)})
    large = body_of({"c": ["u64", "plain", bytes(16 * 101 + 1)]})

    with pytest.raises(DecodeError, match="hold more than"):
        open_body(Kind.METRIC, MAX_RECORDS, *constants)
    with pytest.raises(DecodeError, match="max_bin_len"):
        open_body(Kind.METRIC, 100, *large)
    assert open_body(Kind.METRIC, MAX_RECORDS, *allowed).count == MAX_RECORDS


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_octets_are_opened_or_refused(octets: bytes, records: int) -> None:
    """Whatever stands inside a well-formed zstd frame: records or DecodeError, nothing else."""
    body = zstandard.ZstdCompressor().compress(octets)

    try:
        opened_records = open_body(Kind.FLOW, records, len(octets), body)
    except DecodeError:
        return
    assert opened_records.count == records


def test_long_texts_are_cut_at_the_limit() -> None:
    """No text is longer than MAX_TEXT_BYTES, and a character is never cut in two."""
    rows = [{"ts_ns": 1, "name": "ü" * 5000, "labels": "{}", "value": 0.0}]

    text = opened(seal(records_of(Kind.METRIC, rows))).values("name")[0]

    assert text == "ü" * 2048


def test_texts_repeat() -> None:
    """One text for every row."""
    assert Texts.repeat("eth0", 3).rows() == ["eth0"] * 3
