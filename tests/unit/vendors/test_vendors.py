"""The vendor table: what a MAC resolves to, how a table is built, and which files are refused."""

from __future__ import annotations

import csv
import http.server
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from fieldwatch_proto import vendors
from fieldwatch_proto.vendors import Vendors, VendorsError, build, install, read_sources

HEAD = "Registry,Assignment,Organization Name,Organization Address\r\n"
OUI = HEAD + (
    'MA-L,70B3D5,IEEE Registration Authority,"445 Hoes Lane, Piscataway"\r\n'
    "MA-L,000000,XEROX CORPORATION,\r\n"
    'MA-L,00000C,"Cisco Systems, Inc",170 West Tasman Drive\r\n'
    "MA-L,00000C,Somebody Else,\r\n"
    "MA-L,741AE0,Block Holder,\r\n"
)
MAM = HEAD + "MA-M,741AE09,Private,\r\n"
OUI36 = HEAD + 'MA-S,70B3D5F2F,  TELE  PLATFORMS ,"Polbina st., 3/1"\r\n'


def table() -> Vendors:
    return Vendors.from_bytes(build([OUI, MAM, OUI36]))


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("00:00:0c:12:34:56", "Cisco Systems, Inc"),  # the first holder of a prefix counts
        ("74:1a:e0:9f:ff:ff", "Private"),  # 28 bits before 24
        ("74:1a:e0:a0:00:00", "Block Holder"),
        ("70:b3:d5:f2:f0:00", "TELE PLATFORMS"),  # 36 bits; blanks made one
        ("70:b3:d5:f2:e0:00", ""),  # a block of the registry itself names nobody
        ("00:00:0d:00:00:00", ""),
        ("02:00:0c:12:34:56", ""),  # locally administered
        ("01:00:0c:cc:cc:cc", ""),  # group address
        ("00:00:00:00:00:00", ""),  # not known; the prefix itself is assigned
    ],
)
def test_the_longest_assigned_prefix_names_the_vendor(address: str, expected: str) -> None:
    assert expected == table().lookup(mac(address))


def test_what_is_no_mac_has_no_vendor() -> None:
    assert [table().lookup(octets) for octets in (b"", bytes(5), bytes(8))] == ["", "", ""]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("00:0c:29:aa:bb:cc", "VMware, Inc."),
        ("b8:27:eb:00:00:01", "Raspberry Pi Foundation"),
        ("70:b3:d5:f2:f0:01", "TELEPLATFORMS"),
        ("00:50:c2:00:00:00", "T.L.S. Corp."),  # IAB, the 36-bit registry before MA-S
        ("02:42:ac:11:00:02", ""),
    ],
)
def test_the_shipped_table_knows_real_devices(address: str, expected: str) -> None:
    assert expected == Vendors.load().lookup(mac(address))


def test_the_shipped_table_is_small_and_whole() -> None:
    """A wheel carries it, and a Pi keeps it in memory."""
    assert vendors.SHIPPED.stat().st_size < 700_000
    assert len(Vendors.load()) > 40_000


def test_the_shipped_table_agrees_with_the_registry_files_that_it_was_built_from() -> None:
    """Every tenth assignment of Debian's ieee-data, read by the csv module alone."""
    folder = Path("/usr/share/ieee-data")
    if not (folder / "oui36.csv").is_file():
        pytest.skip("ieee-data is not installed")
    built = Vendors.from_bytes(read_sources(str(folder)))
    wrong = []
    for name in ("oui.csv", "mam.csv", "oui36.csv"):
        with (folder / name).open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        holders: dict[str, str] = {}
        for row in rows:
            holders.setdefault(row["Assignment"], " ".join(row["Organization Name"].split()))
        for digits in list(holders)[::10]:
            address = bytes.fromhex(digits.ljust(11, "0") + "1")
            expected = "" if address[0] & 3 else holders[digits]
            if expected not in (vendors.REGISTRY_NAME, built.lookup(address)):
                wrong.append((digits, expected, built.lookup(address)))

    assert wrong == []


def test_a_build_does_not_depend_on_the_order_of_rows() -> None:
    lines = MAM.splitlines()
    extra = "MA-M,1234560,Zeta,"

    assert build(["\r\n".join([*lines, extra])]) == build(["\r\n".join([lines[0], extra, *lines[1:]])])


def test_rows_that_make_no_sense_are_left_out() -> None:
    text = HEAD + "MA-L,XYZXYZ,Nobody,\r\nMA-L,1234,Short,\r\nMA-L,00AABB,,\r\nMA-L,00AABC,Good\x07 One\u202e,\r\n"

    found = Vendors.from_bytes(build([text]))

    assert (len(found), found.lookup(mac("00:aa:bc:00:00:00"))) == (1, "Good One")


@pytest.mark.parametrize("text", ["", "<html>not found</html>", HEAD, "a,b\n1,2\n"])
def test_a_source_without_assignments_is_refused(text: str) -> None:
    with pytest.raises(VendorsError, match="source 2 holds no assignments"):
        build([OUI, text])


def test_every_cut_of_a_table_is_refused() -> None:
    data = build([OUI])
    for end in range(len(data)):
        with pytest.raises(VendorsError):
            Vendors.from_bytes(data[:end])


def test_every_changed_octet_of_a_table_is_noticed() -> None:
    data = build([OUI])
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x10
        with pytest.raises(VendorsError):
            Vendors.from_bytes(bytes(changed))


def seal(raw: bytes, stated: int | None = None) -> bytes:
    """A table with this body and a right CRC."""
    body = zlib.compress(raw)
    stated = len(raw) if stated is None else stated
    return vendors._HEADER.pack(vendors.MAGIC, vendors.FORMAT, stated, len(body), zlib.crc32(body)) + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04 something else entirely", "not a vendor table"),
        (seal(b"", vendors.MAX_TABLE_BYTES + 1), "the limit is"),
        (seal(bytes(1 << 20), 20), "does not hold the stated number"),  # unpacks to more than it says
        (seal(bytes(10)), "do not add up"),
        (seal(vendors._COUNTS.pack(0xFFFFFFFF, 0, 0, 0, 0)), "do not add up"),
        (seal(vendors._COUNTS.pack(0, 0, 1, 0, 0) + b"\x01\0\0\0" + b"\x05\0"), "not in the table"),
        (seal(vendors._COUNTS.pack(1, 3, 0, 0, 0) + b"\x02\0\0\0abc"), "do not add up"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(VendorsError, match=message):
        Vendors.from_bytes(data)


def test_an_error_names_the_file_and_what_mends_it(tmp_path: Path) -> None:
    bad = tmp_path / "vendors.bin"
    bad.write_bytes(b"junk")

    with pytest.raises(VendorsError) as damaged:
        Vendors.load(bad)
    with pytest.raises(VendorsError) as missing:
        Vendors.load(tmp_path / "none.bin")

    assert f"{bad}: not a vendor table; run `fieldwatch-agent vendors update`" == str(damaged.value)
    assert f"{tmp_path}/none.bin: No such file or directory; run `fieldwatch-agent vendors update`" == str(
        missing.value
    )


def folder_with_sources(path: Path) -> Path:
    for name, text in (("oui.csv", OUI), ("mam.csv", MAM), ("oui36.csv", OUI36)):
        (path / name).write_text(text)
    return path


def test_a_folder_is_read_and_installed_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "made" / "vendors.bin"
    install(read_sources(str(folder_with_sources(tmp_path))), target)

    assert Vendors.load(target).lookup(mac("74:1a:e0:90:00:00")) == "Private"
    assert [target] == list(target.parent.iterdir())


def test_a_bad_table_is_never_installed(tmp_path: Path) -> None:
    target = tmp_path / "vendors.bin"
    install(build([OUI]), target)
    before = target.read_bytes()
    with pytest.raises(VendorsError):
        install(before[:-1], target)

    assert before == target.read_bytes()


def test_a_folder_that_lacks_a_file_says_which(tmp_path: Path) -> None:
    folder_with_sources(tmp_path)
    (tmp_path / "mam.csv").unlink()
    with pytest.raises(VendorsError, match=r"mam\.csv: missing"):
        read_sources(str(tmp_path))


@pytest.mark.parametrize("source", ["ftp://127.0.0.1/x", "file:///etc"])
def test_other_addresses_are_refused(source: str) -> None:
    with pytest.raises(VendorsError, match="http:// or https://"):
        read_sources(source)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VendorsError, match="no such folder"):
        read_sources(str(tmp_path / "nowhere"))


class _Mirror(http.server.BaseHTTPRequestHandler):
    pages: ClassVar = {"/ieee/oui/oui.csv": OUI, "/ieee/oui28/mam.csv": MAM, "/ieee/oui36/oui36.csv": OUI36}

    def do_GET(self) -> None:
        text = self.pages.get(self.path)
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        pass


@pytest.fixture
def mirror() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Mirror)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_mirror_is_read_by_the_paths_of_the_registry(mirror: str) -> None:
    """The optional file that it lacks (404) is left out."""
    assert build([OUI, MAM, OUI36]) == read_sources(mirror + "/ieee/")


def test_a_mirror_without_a_needed_file_is_named_with_its_status(mirror: str) -> None:
    with pytest.raises(VendorsError, match=r"/wrong/oui/oui\.csv: HTTP status 404"):
        read_sources(mirror + "/wrong")


def test_a_mirror_that_is_down_is_one_line() -> None:
    with pytest.raises(VendorsError, match=r"^http://127\.0\.0\.1:1/oui/oui\.csv: Connection refused$"):
        read_sources("http://127.0.0.1:1")


def test_the_module_builds_a_table_as_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.bin"
    status = vendors.main([str(folder_with_sources(tmp_path)), "-o", str(target)])

    assert (status, len(Vendors.load(target))) == (0, 5)
    assert f"{target}: 5 prefixes, {target.stat().st_size} octets\n" == capsys.readouterr().out


def test_the_module_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = vendors.main([str(tmp_path), "-o", str(tmp_path / "out.bin")])

    assert (status, len(capsys.readouterr().err.splitlines())) == (1, 1)
