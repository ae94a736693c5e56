"""`fieldwatch flows`: who talks to whom, and how much."""

from __future__ import annotations

import argparse
import sys

from fieldwatch_proto.cli.asking import add_question, client, end
from fieldwatch_proto.cli.command import Program
from fieldwatch_proto.cli.tables import Column, bytes_text, count_text, moment_text, write

LIMIT = 100
COLUMNS = (
    Column("last_seen", show=moment_text),
    Column("protocol"),
    Column("from"),
    Column("to"),
    Column("application"),
    Column("bytes", align="right", show=bytes_text),
    Column("reply_bytes", "REPLY", align="right", show=bytes_text),
    Column("packets", align="right", show=count_text),
    Column("reply_packets", "REPLIES", align="right", show=count_text),
    Column("state"),
    Column("site"),
)
# What the table is ordered by and would not show stands in front.
_ORDERED_BY = {
    "first_seen": Column("first_seen", show=moment_text),
    "retransmits": Column("repeated", "RETRANSMITS", align="right", show=count_text),
}
# csv has a column for each field that a program wants; the table joins address and port.
_WHEN_AND_WHERE = ("first_seen", "last_seen", "site", "agent", "interface")
_WHO = ("protocol", "src", "src_port", "dst", "dst_port", "src_name", "dst_name", "src_device", "dst_device")
_WHAT = ("bytes", "reply_bytes", "packets", "reply_packets", "state", "application")
_HOW = ("retransmits", "reply_retransmits", "server_rtt_us", "client_rtt_us", "clock")
CSV_COLUMNS = tuple(map(Column, (*_WHEN_AND_WHERE, *_WHO, *_WHAT, *_HOW)))
TOP_COLUMNS = (
    Column("label", "WHAT"),
    Column("bytes", align="right", show=bytes_text),
    Column("share", align="right"),
    Column("packets", align="right", show=count_text),
    Column("flows", align="right", show=count_text),
)
TOP_CSV_COLUMNS = tuple(map(Column, ("key", "label", "bytes", "packets", "flows")))
BY = ("device", "ip", "pair", "application", "protocol", "port")


def register(program: Program) -> None:
    program.group("flows", "who talks to whom")
    program.add(
        "flows ls",
        ls,
        f"list flow records, the newest {LIMIT} first",
        example="""fieldwatch flows ls --since 10m --ip 192.168.1.10
            fieldwatch flows ls --port 53 --protocol udp -o ndjson --limit 0""",
        arguments=_ls_arguments,
    )
    program.add(
        "flows top",
        top,
        "the largest talkers",
        example="""fieldwatch flows top --since 1h
            fieldwatch flows top --by application --limit 20""",
        arguments=_top_arguments,
    )


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser, since="that lived at or after this time", until=True, limit=LIMIT)
    parser.add_argument("--device", default="", metavar="ID", help="of this device, either side")
    parser.add_argument("--ip", default="", metavar="ADDRESS", help="of this address, either side")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of this port, either side")
    parser.add_argument("--protocol", default="", metavar="NAME", help="tcp, udp, icmp, ... or a number")
    parser.add_argument("--application", default="", metavar="NAME", help="as classified: dns, https, ...")
    parser.add_argument(
        "--ordering",
        default="",
        metavar="FIELD",
        help="last_seen, first_seen, bytes, packets or retransmits; --ordering=-bytes = descending",
    )


def _top_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser, since="that lived at or after this time", until=True)
    parser.add_argument("--by", choices=BY, default="device", help="what is added up (default: device)")
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="how many (default: 10)")


def ls(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        found = map(
            as_dict,
            asked.flows(
                site=args.site,
                since=args.since,
                until=args.until,
                device=args.device,
                ip=args.ip,
                port=args.port,
                protocol=args.protocol,
                application=args.application,
                ordering=args.ordering,
                limit=args.limit,
            ),
        )
        if args.output != "table":
            write(found, CSV_COLUMNS, args.output)
            return
        rows = [
            {
                **flow,
                "from": end(flow, "src"),
                "to": end(flow, "dst"),
                "repeated": flow["retransmits"] + flow["reply_retransmits"],
            }
            for flow in found
        ]
    order = _ORDERED_BY.get(args.ordering.removeprefix("-"))
    write(rows, (order, *COLUMNS) if order else COLUMNS, empty="no flows")
    if args.limit and len(rows) == args.limit and sys.stdout.isatty():
        print(f"the first {args.limit}; --limit N for more", file=sys.stderr)


def top(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        answer = as_dict(asked.top(args.by, since=args.since, until=args.until, site=args.site, limit=args.limit))
    if args.output != "table":
        write(answer["results"], TOP_CSV_COLUMNS, args.output)
        return
    total = answer["total_bytes"]
    rows = [{**row, "share": f"{row['bytes'] / total:.1%}" if total else ""} for row in answer["results"]]
    write(rows, TOP_COLUMNS, empty="no flows")
