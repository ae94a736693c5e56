"""The entries of `memory` from the tables of one site."""

from __future__ import annotations

import ipaddress
import sqlite3
from collections.abc import Collection, Sequence

from fieldwatch_proto.identity import NO_MAC, Prefix, forwards, is_bindable, is_link_local, is_local
from fieldwatch_proto.schema import AUTHORITATIVE, WEAK, SightingSource

from fieldwatch_collector.projections.memory import ClaimKey, Claims, Rows, Seen, SightingKey, Station

_MAC_OCTETS = len(NO_MAC)  # no address has as many
_NO_ADDRESS = (b"", bytes(4), bytes(16))
_OF_AUTHORITY = ", ".join(str(int(source)) for source in sorted(AUTHORITATIVE))
_ROWS = "SELECT mac, ip, vlans, source, first_ns, last_ns, frames FROM sighting"
_SELECT_BARE_ROWS = f"{_ROWS} WHERE site = ? AND mac = ? AND ip IN (?, ?, ?)"
# By its own choice SQLite reads all rows of the site: it knows nothing of how many addresses there are.
_SELECT_ROWS = f"{_ROWS} INDEXED BY sighting_ip WHERE site = ? AND ip = ?"
AT_ONCE = 200  # addresses
_SELECT_HOLDERS = f"SELECT ip, device FROM device_address WHERE site = ? AND ip IN ({', '.join(AT_ONCE * '?')})"  # noqa: S608
_SELECT_STATION = (
    "SELECT ip, vlans, source,"  # noqa: S608 - numbers of ours
    " EXISTS (SELECT 1 FROM sighting AS its WHERE its.site = ours.site AND its.ip = ours.ip AND its.mac != ?1"
    f" AND its.source IN ({_OF_AUTHORITY})),"
    " EXISTS (SELECT 1 FROM sighting AS its WHERE its.site = ours.site AND its.ip = ours.ip AND its.mac = ours.mac"
    f" AND its.source IN ({_OF_AUTHORITY}))"
    " FROM sighting AS ours WHERE ours.site = ?2 AND ours.mac = ?3 ORDER BY ours.ip"
)


def load_rows(connection: sqlite3.Connection, site: str, where: bytes) -> Rows:
    """The sightings of an address; of a MAC those without an address."""
    if len(where) == _MAC_OCTETS:
        found = connection.execute(_SELECT_BARE_ROWS, (site, where, *_NO_ADDRESS))
    else:
        found = connection.execute(_SELECT_ROWS, (site, where))
    rows = Rows()
    for mac, ip, vlans, source, first_ns, last_ns, frames in found:
        rows.seen[SightingKey(mac, ip, vlans, source)] = Seen(first_ns, last_ns, frames)
        if source in AUTHORITATIVE and mac != NO_MAC and is_bindable(ip):
            rows.owners.add(mac)
    return rows


def load_station(connection: sqlite3.Connection, site: str, mac: bytes, prefixes: Sequence[Prefix]) -> Station:
    """What the sightings of a MAC come to, row by row: there may be a hundred thousand of them."""
    station = Station()
    last = b""  # address: several rows of one follow each other
    for ip, vlans, number, held, own in connection.execute(_SELECT_STATION, (NO_MAC, site, mac)):
        source = SightingSource(number)
        routed = forwards(source, ip, prefixes)
        station.forwards.update(routed)
        if not any(ip):
            continue
        if source not in WEAK or routed:
            station.firm.add(SightingKey(mac, ip, vlans, number))
            if source in AUTHORITATIVE and is_bindable(ip) and not is_link_local(ip):
                station.held.add(len(ip))
        elif ip != last and is_local(ip, prefixes):
            last = ip
            if not (held and is_bindable(ip)):
                add_weak(station, ip)
            elif not own:
                station.foreign[len(ip)].add(ip)
    return station


def add_weak(station: Station, ip: bytes) -> None:
    """A local address that the MAC used and nobody holds by authority."""
    if is_link_local(ip):
        station.near.add(ip)
    else:
        station.weak[len(ip)].add(ip)


def load_claims(connection: sqlite3.Connection, site: str, subject: str) -> Claims:
    return {
        ClaimKey(key, value, source): (first_ns, last_ns)
        for key, value, source, first_ns, last_ns in connection.execute(
            "SELECT key, value, source, first_ns, last_ns FROM claim WHERE site = ? AND subject = ?", (site, subject)
        )
    }


def load_holder(connection: sqlite3.Connection, site: str, ip: bytes) -> str:
    """The id of the device that holds an address, or none."""
    row = connection.execute("SELECT device FROM device_address WHERE site = ? AND ip = ?", (site, ip)).fetchone()
    return row[0] if row else ""


def holders_among(connection: sqlite3.Connection, site: str, ips: Collection[bytes]) -> dict[bytes, str]:
    """Those of many addresses that a device holds, with its id."""
    found: dict[bytes, str] = {}
    wanted = list(ips)
    for start in range(0, len(wanted), AT_ONCE):
        chunk = wanted[start : start + AT_ONCE]
        chunk += chunk[-1:] * (AT_ONCE - len(chunk))  # one statement for all of them stays compiled
        found.update(connection.execute(_SELECT_HOLDERS, (site, *chunk)).fetchall())
    return found


def is_public(subject: str, prefixes: Sequence[Prefix]) -> bytes | None:
    """The address where a claim's subject is one and not local."""
    try:
        ip = ipaddress.ip_address(subject).packed
    except ValueError:
        return None  # a MAC
    return None if is_local(ip, prefixes) else ip
