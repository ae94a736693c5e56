"""What two SYNs of one stack have in common."""

def traits(packet: bytes) -> bytes:
    """The packet, from its IP header to the end of its TCP header, with zeros for what is of one connection.

    That is identification, flow label, addresses and checksums, ports and numbers of TCP, and the values of
    timestamps. Of what is no such packet, or has extension headers of IPv6 or contradictory options, more stays.
    """
