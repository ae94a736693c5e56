# ARP for IPv4 over Ethernet (RFC 826): requests, replies, announcements and probes (RFC 5227).
from libc.stdint cimport uint16_t, uint64_t

from fieldwatch_ext.decoder cimport Decoder, note_binding
from fieldwatch_ext.packet cimport (
    LAYER_ARP, MALFORMED, SEEN_ARP, STEP_DONE, UNSUPPORTED, Cursor, Packet, lacks, mark, reject
)
from fieldwatch_ext.wire cimport be16, mac48, raw32

cdef enum:
    ARP_HTYPE = 0
    ARP_PTYPE = 2
    ARP_HLEN = 4
    ARP_PLEN = 5
    ARP_OPERATION = 6
    ARP_FIXED_LEN = 8
    ARP_SENDER_MAC = 8
    ARP_SENDER_IP = 14
    ARP_LEN = 28
    ARP_REQUEST = 1
    ARP_REPLY = 2


cdef inline int read_arp(Cursor* c, Packet* k, Decoder* d) noexcept nogil:
    # Only the sender's pair counts (RFC 826): of the target it says what it heard, and what an unasked reply says of
    # its target may be anything.
    cdef int verdict = lacks(c, ARP_FIXED_LEN)
    cdef uint16_t hardware, operation
    cdef uint64_t sender[2]
    if verdict:
        return reject(k, verdict, LAYER_ARP)
    hardware = be16(c.at + ARP_HTYPE)
    if (hardware != 1 and hardware != 6) or be16(c.at + ARP_PTYPE) != 0x0800:
        return reject(k, UNSUPPORTED, LAYER_ARP)
    if c.at[ARP_HLEN] != 6 or c.at[ARP_PLEN] != 4:
        return reject(k, MALFORMED, LAYER_ARP)
    verdict = lacks(c, ARP_LEN)
    if verdict:
        return reject(k, verdict, LAYER_ARP)
    mark(k, LAYER_ARP)
    operation = be16(c.at + ARP_OPERATION)
    if operation != ARP_REQUEST and operation != ARP_REPLY:
        return STEP_DONE
    sender[0] = raw32(c.at + ARP_SENDER_IP)
    sender[1] = 0
    note_binding(d, k, mac48(c.at + ARP_SENDER_MAC), SEEN_ARP, 4, sender)
    return STEP_DONE
