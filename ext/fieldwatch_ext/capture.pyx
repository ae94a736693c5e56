"""Sources of frames: capture files, live rings, pcapy-ng handles, frames in memory.

A source gives blocks of references to frames (`FrameRef`), which point into memory of its own: a frame costs no Python
object, no allocation, no lock and no system call. Where the octets come from is a room of its own:

    capture_source.pxi   the base class: counting, filtering
    capture_memory.pxi   frames in memory
    capture_piece.pxi    a stream of octets, read in pieces
    capture_pcap.pxi     records of a pcap stream
    capture_pcapng.pxi   blocks of a pcapng stream
    capture_file.pxi     FileSource: tells the formats apart, asks for filters, says what is wrong
    capture_socket.pxi   an AF_PACKET socket with its ring, and what the kernel says of an interface
    capture_ring.pxi     RingSource: blocks of the ring, VLAN tags put back
    capture_handle.pxi   a pcapy-ng handle

Invariant of every source: captured <= original, whatever the record says.
"""

from fieldwatch_ext.linktypes import LINKTYPE_NAMES

include "capture_source.pxi"
include "capture_memory.pxi"
include "capture_piece.pxi"
include "capture_pcap.pxi"
include "capture_pcapng.pxi"
include "capture_file.pxi"
include "capture_socket.pxi"
include "capture_ring.pxi"
include "capture_handle.pxi"
