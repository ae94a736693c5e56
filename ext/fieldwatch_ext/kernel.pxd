# One block of frames through decode, flow table and sighting table: the hot loop.
#
# Frames go in batches, two of them at work, so that memory answers one while the other is worked on: a batch is decoded
# and its buckets of the index asked for, then the flow entries that these name; while the next is decoded they come,
# and the sightings that they name are asked for, or buckets, where a flow is new; then it is counted. Batches are
# small: a processor keeps about twenty requests of memory at once, and waits with the others.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fieldwatch_ext.content cimport CONTENT_QUIC
from fieldwatch_ext.decode cimport decode
from fieldwatch_ext.decoder cimport Decoder
from fieldwatch_ext.flow cimport Flow
from fieldwatch_ext.flow_columns cimport flow_columns_room
from fieldwatch_ext.flow_key cimport flow_hash
from fieldwatch_ext.flows cimport (
    BIT_TOUCHED, IP_TCP, Flows, flow_count, flow_find, flow_of, flow_over, flow_prefetch, flow_tcp, flows_look, rest_of
)
from fieldwatch_ext.frames cimport BLOCK_FRAMES, FrameRef
from fieldwatch_ext.hashing cimport hash4
from fieldwatch_ext.index cimport NOWHERE, Bucket, index_home, index_matches, index_place
from fieldwatch_ext.packet cimport (
    OK, OUTSIDE, QUOTING, SEEN_NOT, SLOW_NONE, SLOW_QUIC, Packet
)
from fieldwatch_ext.sightings cimport (
    Sightings, mac_key, see, see_mac, sighting_key, sighting_meta, sightings_room
)
from fieldwatch_ext.slow cimport SlowFrame, SlowRing, slow_keep, slow_reserve
from fieldwatch_ext.streams cimport Streams, stream_segment
from fieldwatch_ext.wire cimport lowest_bit, prefetch

cdef enum:
    BATCH_FRAMES = 8
    PREFETCH_AHEAD = 8
    HEADERS_REACH = 48          # octets to the flags of TCP: in the next cache line, mostly
    RECORDS_PER_FRAME = 2       # flow records that one frame can bring about, at most
    SIGHTINGS_PER_FRAME = 18    # MAX_NOTES and the two of the flow
    MASKS = 64

cdef enum Stage:
    READ = 0
    DECODE = 1
    FLOWS = 2
    ALL = 3

cdef struct Tally:
    uint64_t verdicts[4]
    uint64_t layers[64]
    uint64_t rejected_at[64]
    # Frames by the set of their layers, direct-mapped: most traffic has a handful of sets.
    uint64_t mask[64]
    uint64_t frames[64]

cdef struct Batch:
    int count                   # frames that have a flow
    uint8_t place[8]            # in the batch, of each of them
    uint64_t first              # number of the batch's first frame
    Packet packet[9]            # of each of them; one more, for the frame that is being decoded

cdef struct Kernel:
    int stage
    int64_t newest_ns
    uint64_t frames
    uint64_t octets
    uint64_t in_flows
    Tally tally
    Flows flows
    Sightings sightings
    SlowRing slow
    Streams streams
    Decoder decoder
    Batch batches[2]
    FrameRef block[4096]


cdef inline void tally_flush(Tally* t, int at) noexcept nogil:
    cdef uint64_t rest = t.mask[at]
    while rest:
        t.layers[lowest_bit(rest)] += t.frames[at]
        rest &= rest - 1
    t.frames[at] = 0


cdef inline void tally_frame(Tally* t, const Packet* k) noexcept nogil:
    cdef int at = <int>((k.layers * <uint64_t>0x9E3779B97F4A7C15) >> 58)
    if t.mask[at] != k.layers:
        tally_flush(t, at)
        t.mask[at] = k.layers
    t.frames[at] += 1
    t.verdicts[k.verdict] += 1
    if k.verdict != OK:
        t.rejected_at[k.layer] += 1


cdef inline int block_capacity(const Kernel* kernel) noexcept nogil:
    # Frames that can be processed for sure with the room there is; 0 once the columns are more than half full.
    cdef uint32_t records = flow_columns_room(&kernel.flows.columns)
    cdef uint32_t sightings = sightings_room(&kernel.sightings)
    cdef uint32_t frames = BLOCK_FRAMES
    if (
        records < kernel.flows.columns.capacity // 2
        or kernel.sightings.rows_count > kernel.sightings.rows_capacity // 2
        or kernel.slow.used > kernel.slow.agreed // 2
    ):
        return 0
    if frames > records // RECORDS_PER_FRAME:
        frames = records // RECORDS_PER_FRAME
    if frames > sightings // SIGHTINGS_PER_FRAME:
        frames = sightings // SIGHTINGS_PER_FRAME
    return <int>frames


cdef inline void _see_sender(Kernel* kernel, Flow* f, int side, const Packet* k) noexcept nogil:
    # The MAC and the source address of a frame; their places stand in the flow entry.
    cdef uint64_t key[4]
    if k.mac != 0:
        f.eth_place[side] = see_mac(&kernel.sightings, f.eth_place[side], k.vlans, k.mac, k.mac_hash, k.ts_ns)
    if k.seen == SEEN_NOT:
        return
    sighting_key(key, k.vlans, sighting_meta(k.mac, k.seen, k.version), k.seen_local, k.src)
    f.ip_place[side] = see(&kernel.sightings, f.ip_place[side], key, k.src_hash, k.ts_ns)


cdef inline void _see_third(Kernel* kernel, const Packet* k) noexcept nogil:
    cdef Flow nowhere
    nowhere.eth_place[0] = nowhere.ip_place[0] = NOWHERE
    _see_sender(kernel, &nowhere, 0, k)


cdef inline Flow* _quoted_flow(Kernel* kernel, const Packet* k) noexcept nogil:
    # The flow that an ICMP error is about, if it stands in the table and goes on.
    cdef uint32_t place = flow_find(&kernel.flows, k.quoted, flow_hash(&kernel.flows.seed, k.quoted))
    cdef Flow* f
    if place == NOWHERE:
        return NULL
    f = &kernel.flows.entries[place]
    return NULL if flow_over(&kernel.flows, f, k.ts_ns) else f


cdef inline void _look_inside(Kernel* kernel, Flow* f, const Packet* k, uint64_t number) noexcept nogil:
    # What the payload says about the flow, and what of it a dissector is to see.
    cdef int shift = 16 if k.side else 0
    if k.slow == SLOW_QUIC:
        f.content = CONTENT_QUIC
    elif k.protocol == IP_TCP and k.data_octets:
        stream_segment(
            &kernel.streams, &kernel.slow, f, rest_of(&kernel.flows, f), k, number,
            <uint16_t>(k.key[4] >> shift), <uint16_t>(k.key[4] >> (16 - shift)),
        )


cdef inline void _count_frame(Kernel* kernel, const Packet* k, uint64_t number) noexcept nogil:
    cdef Flow* f = NULL
    cdef int side = k.side
    if k.fate == QUOTING:
        f = _quoted_flow(kernel, k)
        if f != NULL:
            side = k.quoted_side
            f.bits |= BIT_TOUCHED
            flow_count(&kernel.flows, f, side, k)
            # The sender is a third party: its sightings have no place in this entry.
            if not k.sighted:
                _see_third(kernel, k)
            return
    f = flow_of(&kernel.flows, k)
    flow_count(&kernel.flows, f, side, k)
    if k.protocol == IP_TCP:
        flow_tcp(&kernel.flows, f, k)
    if kernel.stage == ALL:
        _look_inside(kernel, f, k, number)
    if not k.sighted:
        _see_sender(kernel, f, side, k)


cdef inline void _see_notes(Kernel* kernel, int64_t ts_ns) noexcept nogil:
    cdef uint64_t key[4]
    cdef int i
    for i in range(kernel.decoder.note_count):
        sighting_key(key, kernel.decoder.notes[i].vlans, kernel.decoder.notes[i].meta, True, kernel.decoder.notes[i].ip)
        see(&kernel.sightings, NOWHERE, key, 0, ts_ns)


cdef inline void _prefetch_sightings(const Kernel* kernel, Packet* k) noexcept nogil:
    # Of the MAC and the source address, by what the flow entry remembers, else the buckets that will name them.
    cdef uint32_t mac_place = NOWHERE
    cdef uint32_t src_place = NOWHERE
    cdef uint64_t key[4]
    k.mac_hash = k.src_hash = 0
    if k.place != NOWHERE:
        mac_place = kernel.flows.entries[k.place].eth_place[k.side]
        src_place = kernel.flows.entries[k.place].ip_place[k.side]
    if mac_place != NOWHERE:
        prefetch(&kernel.sightings.entries[mac_place])
    elif k.mac != 0:
        mac_key(key, k.vlans, k.mac)
        k.mac_hash = hash4(&kernel.sightings.seed, key)
        prefetch(index_home(&kernel.sightings.index, k.mac_hash))
    if src_place != NOWHERE:
        prefetch(&kernel.sightings.entries[src_place])
    elif k.seen != SEEN_NOT:
        sighting_key(key, k.vlans, sighting_meta(k.mac, k.seen, k.version), k.seen_local, k.src)
        k.src_hash = hash4(&kernel.sightings.seed, key)
        prefetch(index_home(&kernel.sightings.index, k.src_hash))


cdef inline void _prefetch_by_bucket(const Kernel* kernel, uint64_t hash) noexcept nogil:
    cdef const Bucket* b = index_home(&kernel.sightings.index, hash)
    cdef uint64_t found = index_matches(b, hash)
    if found:
        prefetch(&kernel.sightings.entries[index_place(b, found)])


cdef inline void _decode_batch(
    Kernel* kernel, Batch* batch, const FrameRef* frames, int count, int ahead
) noexcept nogil:
    # Packets of frames without a flow are overwritten by the next.
    cdef Packet* k = &batch.packet[0]
    cdef int i
    batch.count = 0
    batch.first = kernel.frames + 1
    for i in range(count):
        if i < ahead:
            prefetch(frames[i + PREFETCH_AHEAD].octets)
            prefetch(frames[i + PREFETCH_AHEAD].octets + HEADERS_REACH)
        decode(&kernel.decoder, &frames[i], k)
        tally_frame(&kernel.tally, k)
        if kernel.stage < FLOWS:
            continue
        if kernel.stage == ALL and k.slow != SLOW_NONE:
            slow_keep(&kernel.slow, k, kernel.frames + 1 + i)
        if kernel.decoder.note_count:
            _see_notes(kernel, k.ts_ns)
        if k.fate != OUTSIDE:
            prefetch(index_home(&kernel.flows.index, k.hash))
            batch.place[batch.count] = <uint8_t>i
            batch.count += 1
            k = &batch.packet[batch.count]
    kernel.frames += count


cdef inline void _ask_for_flows(Kernel* kernel, Batch* batch) noexcept nogil:
    cdef int i
    for i in range(batch.count):
        batch.packet[i].place = flow_prefetch(&kernel.flows, &batch.packet[i])


cdef inline void _ask_for_sightings(Kernel* kernel, Batch* batch) noexcept nogil:
    cdef int i
    for i in range(batch.count):
        _prefetch_sightings(kernel, &batch.packet[i])
    for i in range(batch.count):
        if batch.packet[i].mac_hash:
            _prefetch_by_bucket(kernel, batch.packet[i].mac_hash)
        if batch.packet[i].src_hash:
            _prefetch_by_bucket(kernel, batch.packet[i].src_hash)


cdef inline void _count_batch(Kernel* kernel, Batch* batch) noexcept nogil:
    cdef uint64_t in_flows = batch.count
    cdef int i
    for i in range(batch.count):
        in_flows += batch.packet[i].waited
        _count_frame(kernel, &batch.packet[i], batch.first + batch.place[i])
    kernel.in_flows += in_flows


cdef inline void _look_at_flows(Kernel* kernel, int first, int frames, int count) noexcept nogil:
    # By the times of these frames, not by the newest ever seen: one frame with a time of the far future, or a clock set
    # back, would keep that ahead of all the flows that go on. The block's other frames keep their room for records.
    cdef int64_t oldest_ns = kernel.block[first].ts_ns
    cdef int64_t newest_ns = oldest_ns
    cdef uint32_t reserve = RECORDS_PER_FRAME * (count - first)
    cdef int i
    for i in range(first + 1, first + frames):
        oldest_ns = min(oldest_ns, kernel.block[i].ts_ns)
        newest_ns = max(newest_ns, kernel.block[i].ts_ns)
    kernel.newest_ns = max(kernel.newest_ns, newest_ns)
    if flow_columns_room(&kernel.flows.columns) > reserve + BATCH_FRAMES + 8:
        flows_look(&kernel.flows, oldest_ns, newest_ns, frames)


cdef inline void process_block(Kernel* kernel, int count) noexcept nogil:
    # The frames in `kernel.block`, of which there are at most `block_capacity`.
    cdef size_t captured = 0
    cdef uint64_t octets = 0
    cdef int start = 0
    cdef int i, n
    cdef int before = 0
    cdef int turn = 0
    for i in range(count):
        captured += kernel.block[i].captured
        octets += max(kernel.block[i].original, kernel.block[i].captured)
    kernel.octets += octets
    if kernel.stage == READ:
        kernel.frames += count
        return
    if kernel.stage == ALL:
        # A frame hands over its own octets, and may end a stream that was collected before it.
        slow_reserve(&kernel.slow, captured + kernel.streams.held + <size_t>count * 2 * (sizeof(SlowFrame) + 8))
    while start < count or before:
        n = max(min(BATCH_FRAMES, count - start), 0)
        if n > 0:
            _decode_batch(kernel, &kernel.batches[turn], &kernel.block[start], n, count - start - PREFETCH_AHEAD)
        if kernel.stage < FLOWS:
            start += n
            continue
        if before:
            _ask_for_sightings(kernel, &kernel.batches[1 - turn])
        if n > 0:
            _ask_for_flows(kernel, &kernel.batches[turn])
        if before:
            _count_batch(kernel, &kernel.batches[1 - turn])
            _look_at_flows(kernel, start - BATCH_FRAMES, before, count)
        before = n
        turn = 1 - turn
        start += BATCH_FRAMES
