"""`fieldwatch devices`: the inventory in a terminal."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.cli.asking import add_question, client, end
from fieldwatch_proto.cli.command import Failure, Program
from fieldwatch_proto.cli.tables import Column, bytes_text, count_text, json_line, moment_text, plain, write

if TYPE_CHECKING:
    from fieldwatch_proto.client import Client

COLUMNS = (
    Column("name"),
    Column("ips", "IP"),
    Column("macs", "MAC"),
    Column("vendor"),
    Column("site"),
    Column("sources"),
    Column("last_seen", show=moment_text),
    Column("flows", align="right", show=count_text),
    Column("bytes", align="right", show=bytes_text),
    Column("id", "ID"),
)
_INTERFACES = (
    Column("mac", "MAC"),
    Column("vendor"),
    Column("locally_administered", "LOCAL"),
    Column("vlans", "VLAN"),
    Column("first_seen", show=moment_text),
    Column("last_seen", show=moment_text),
    Column("frames", align="right", show=count_text),
)
_ADDRESSES = (
    Column("ip", "IP"),
    Column("mac", "MAC"),
    Column("source"),
    Column("first_seen", show=moment_text),
    Column("last_seen", show=moment_text),
    Column("frames", align="right", show=count_text),
)
_CLAIMS = (
    Column("key"),
    Column("value"),
    Column("source"),
    Column("confidence", align="right"),
    Column("last_seen", show=moment_text),
    Column("times", align="right", show=count_text),
    Column("evidence"),
)
_FLOWS = (
    Column("last_seen", show=moment_text),
    Column("protocol"),
    Column("from"),
    Column("to"),
    Column("application"),
    Column("total", "BYTES", align="right", show=bytes_text),
)


def register(program: Program) -> None:
    program.group("devices", "what is on the networks")
    program.add(
        "devices ls",
        ls,
        "list devices, the last seen first",
        example="""fieldwatch devices ls --since 1h
            fieldwatch devices ls --site hq -q printer -o csv""",
        arguments=_ls_arguments,
    )
    program.add(
        "devices show",
        show,
        "one device with its interfaces, addresses, claims and newest flows",
        example="""fieldwatch devices show 192.168.1.10
            fieldwatch devices show 01J9Z3N7Q2X4T8V6W5Y0K1M2B3 -o json""",
        arguments=_show_arguments,
    )


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser, since="seen at or after this time", limit=0)
    parser.add_argument("-q", "--query", default="", metavar="TEXT", help="part of a name, address, MAC or vendor")
    parser.add_argument(
        "--ordering",
        default="",
        metavar="FIELD",
        help="name, first_seen, last_seen, flows, bytes, vendor or site; --ordering=-flows = descending",
    )


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="ID|NAME|IP|MAC", help="the device")
    parser.add_argument("--site", default="", metavar="NAME", help="only in this site")
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "ndjson"), default="table", help="form of the output"
    )


def ls(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        found = asked.devices(site=args.site, q=args.query, ordering=args.ordering, since=args.since, limit=args.limit)
        write(map(as_dict, found), COLUMNS, args.output, empty="no devices")


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        detail = as_dict(asked.device(_find(asked, args.device, args.site)))
    if args.output == "json":
        json.dump(detail, sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
    elif args.output == "ndjson":
        sys.stdout.write(json_line(detail))
    else:
        _print(detail)


def _find(asked: Client, text: str, site: str) -> str:
    """The id of the one device that is called so. Raises Failure where there is none, or more than one."""
    if len(text) == 26 and text.isalnum() and text.isupper():  # a ULID
        return text
    wanted = text.casefold().replace("-", ":") if text.count("-") == 5 else text.casefold()
    near = [
        device
        for device in asked.devices(q=wanted if wanted.count(":") == 5 else text, site=site)
        if wanted in {device.name.casefold(), *device.ips, *device.macs}
    ]
    if len(near) == 1:
        return near[0].id
    if not near:
        raise Failure(f"no device is called {text!r}; see: fieldwatch devices ls -q {text}")
    raise Failure(f"{len(near)} devices are called {text!r}; give an id: {' '.join(device.id for device in near[:10])}")


def _print(detail: Mapping[str, Any]) -> None:
    device = detail["device"]
    facts: Sequence[tuple[str, str]] = (
        ("name", f"{device['name']} ({device['name_source']})" if device["name"] else "none known"),
        ("vendor", device["vendor"]),
        ("site", device["site"]),
        ("seen", f"{moment_text(device['first_seen'])} to {moment_text(device['last_seen'])} UTC"),
        ("by", plain(device["sources"])),
        ("VLANs", plain(device["vlans"])),
        ("traffic", f"{count_text(device['flows'])} flows, {bytes_text(device['bytes'])}"),
        ("id", device["id"]),
    )
    rows = [{"what": what, "value": value} for what, value in facts if value]
    write(rows, (Column("what", "DEVICE"), Column("value", " ")))
    flows = [
        {
            **flow,
            "from": end(flow, "src"),
            "to": end(flow, "dst"),
            "total": flow["bytes"] + flow["reply_bytes"],
        }
        for flow in detail["recent_flows"]
    ]
    for title, found, columns in (
        ("interfaces", detail["interfaces"], _INTERFACES),
        ("addresses", detail["addresses"], _ADDRESSES),
        ("claims", detail["claims"], _CLAIMS),
        ("newest flows", flows, _FLOWS),
    ):
        if found:
            print(f"\n{title}")
            write(found, columns)
