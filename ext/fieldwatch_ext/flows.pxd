# The flow table: both directions of a conversation in one entry, bounded, every frame in exactly one record.
#
# Constraints:
# - With its share of the index a flow takes 179 octets (flow.pxd); its look-up needs one cache line of them.
# - A frame touches its own entry and nothing else: no list is re-linked for it, it only sets TOUCHED.
# - Two lists keep the order in which entries are looked at: `open` and `closed` (TCP flows waiting for stragglers).
#   An entry touched since it was linked goes to the tail once more (second chance); the head is then the oldest,
#   as nearly as it matters. The work per frame is bounded.
# - What a record holds never depends on when the lists are looked at: a frame that comes too late for the entry it
#   finds ends that entry first and begins a new flow.
#
# Life of an entry: taken -> open -> (closed ->) record written -> free. ACTIVE records are written in between.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fieldwatch_ext.flow cimport Flow, FlowLink, FlowRest, add_octets, octets_of
from fieldwatch_ext.flow_columns cimport FlowColumns
from fieldwatch_ext.flow_key cimport flow_hash
from fieldwatch_ext.hashing cimport Seed, copy_words, same6
from fieldwatch_ext.index cimport (
    NOWHERE, Bucket, Index, index_add, index_free, index_home, index_make, index_matches, index_next, index_place,
    index_remove
)
from fieldwatch_ext.content cimport CONTENT_HTTP, CONTENT_TLS, CONTENT_UNKNOWN
from fieldwatch_ext.measures cimport measure_frame, measure_segment, measures_restart, rtt_of
from fieldwatch_ext.packet cimport Packet
from fieldwatch_ext.tables cimport Table, table_free, table_make
from fieldwatch_ext.tcp_state cimport (
    BIT_OPENER, STATE_CLOSED, TCP_ACK, TCP_SYN, opener_by_flags, tcp_next
)
from fieldwatch_ext.wire cimport prefetch

cdef enum EndReason:            # of the schema
    END_IDLE = 1
    END_ACTIVE = 2
    END_CLOSED = 3
    END_EVICTED = 4
    END_FLUSH = 5

cdef enum:
    BIT_TOUCHED = 16            # a frame came since the entry was linked
    BIT_WAITS = 32              # stands in the list `closed`
    BIT_USED = 64
    SECOND_CHANCES = 8
    MOST_PACKETS = 0xF0000000   # a record is written before its 32-bit count could overflow,
    MOST_OCTETS_HIGH = 0x80     # or its 40-bit sum
    IP_ICMP = 1
    IP_TCP = 6
    IP_UDP = 17
    IP_ICMPV6 = 58

cdef struct List:
    uint32_t head
    uint32_t tail

cdef struct Flows:
    Seed seed
    Index index
    Table entry_table
    Table rest_table
    Table link_table
    Flow* entries
    FlowRest* rests             # of the entry in the same place
    FlowLink* links
    uint32_t capacity
    uint32_t used               # entries that were ever taken
    uint32_t count
    uint32_t unused             # head of the free list, by `next`
    uint32_t leaving            # the entry that probably goes next; its bucket was asked for
    uint64_t leaving_hash
    List open
    List closed
    int64_t idle_ns
    int64_t active_ns
    int64_t linger_ns
    uint64_t exported
    uint64_t evicted
    const uint16_t* tcp_labels
    const uint16_t* udp_labels
    uint16_t content_labels[8]  # by `Content`
    FlowColumns columns


cdef inline int flows_make(Flows* t, uint32_t capacity) noexcept nogil:
    t.capacity = capacity
    t.unused = t.leaving = NOWHERE
    t.open.head = t.open.tail = t.closed.head = t.closed.tail = NOWHERE
    if (
        table_make(&t.entry_table, capacity * sizeof(Flow)) != 0
        or table_make(&t.rest_table, capacity * sizeof(FlowRest)) != 0
        or table_make(&t.link_table, capacity * sizeof(FlowLink)) != 0
    ):
        return -1
    t.entries = <Flow*>t.entry_table.start
    t.rests = <FlowRest*>t.rest_table.start
    t.links = <FlowLink*>t.link_table.start
    return index_make(&t.index, capacity)


cdef inline void flows_free(Flows* t) noexcept nogil:
    table_free(&t.entry_table)
    table_free(&t.rest_table)
    table_free(&t.link_table)
    index_free(&t.index)


cdef inline FlowRest* rest_of(const Flows* t, const Flow* f) noexcept nogil:
    return &t.rests[f - t.entries]


cdef inline int64_t since(int64_t later_ns, int64_t earlier_ns) noexcept nogil:
    # A difference of times that a stranger may have chosen: it wraps instead of being undefined.
    return <int64_t>(<uint64_t>later_ns - <uint64_t>earlier_ns)


# ---- lists

cdef inline void _link(Flows* t, List* list, uint32_t place) noexcept nogil:
    t.links[place].next = NOWHERE
    t.links[place].prev = list.tail
    t.entries[place].bits &= <uint8_t>~BIT_TOUCHED
    if list.tail == NOWHERE:
        list.head = place
    else:
        t.links[list.tail].next = place
    list.tail = place


cdef inline void _unlink(Flows* t, List* list, uint32_t place) noexcept nogil:
    cdef const FlowLink* link = &t.links[place]
    if link.prev == NOWHERE:
        list.head = link.next
    else:
        t.links[link.prev].next = link.next
    if link.next == NOWHERE:
        list.tail = link.prev
    else:
        t.links[link.next].prev = link.prev


cdef inline List* _list_of(Flows* t, const Flow* f) noexcept nogil:
    return &t.closed if f.bits & BIT_WAITS else &t.open


# ---- records

cdef inline uint16_t _label(const Flows* t, uint8_t protocol, uint16_t src_port, uint16_t dst_port) noexcept nogil:
    cdef const uint16_t* labels = NULL
    if protocol == IP_TCP:
        labels = t.tcp_labels
    elif protocol == IP_UDP:
        labels = t.udp_labels
    if labels == NULL:
        return 0
    return labels[dst_port] if labels[dst_port] != 0 else labels[src_port]


cdef inline uint16_t _application(const Flows* t, int content, uint16_t by_port) noexcept nogil:
    # What was seen counts more than the port. TLS alone says little: a port with a label says what it carries.
    if content == CONTENT_UNKNOWN or t.content_labels[content] == 0:
        return by_port
    if content == CONTENT_TLS and by_port != 0 and by_port != t.content_labels[<int>CONTENT_HTTP]:
        return by_port
    return t.content_labels[content]


cdef inline void _write(Flows* t, const Flow* f, int reason) noexcept nogil:
    # A record of what the entry holds. The caller has seen to it that there is room.
    cdef FlowColumns* c = &t.columns
    cdef const FlowRest* rest = rest_of(t, f)
    cdef uint32_t n = c.count
    cdef int a = 1 if f.bits & BIT_OPENER else 0
    cdef int b = 1 - a
    cdef uint64_t meta = f.key[4]
    cdef uint8_t protocol = <uint8_t>(meta >> 32)
    cdef uint8_t version = <uint8_t>(meta >> 40)
    cdef bint icmp = protocol == (IP_ICMP if version == 4 else IP_ICMPV6)
    if f.packets[0] == 0 and f.packets[1] == 0:
        return                              # all of it stands in an ACTIVE record already
    c.first_ns[n] = f.first_ns
    c.last_ns[n] = f.last_ns
    c.ip_version[n] = version
    c.protocol[n] = protocol
    c.src[2 * n] = f.key[2 * a]
    c.src[2 * n + 1] = f.key[2 * a + 1]
    c.dst[2 * n] = f.key[2 * b]
    c.dst[2 * n + 1] = f.key[2 * b + 1]
    if icmp:
        c.src_port[n] = f.flags[0]
        c.dst_port[n] = f.flags[1]
        c.tcp_flags[n] = 0
        c.reply_tcp_flags[n] = 0
    else:
        c.src_port[n] = <uint16_t>(meta >> (16 * a))
        c.dst_port[n] = <uint16_t>(meta >> (16 * b))
        c.tcp_flags[n] = f.flags[a]
        c.reply_tcp_flags[n] = f.flags[b]
    c.vlans[n] = f.key[5]
    memcpy(c.src_mac + 6 * n, rest.mac[a], 6)
    memcpy(c.dst_mac + 6 * n, rest.mac[b], 6)
    c.packets[n] = f.packets[a]
    c.octets[n] = octets_of(f, a)
    c.reply_packets[n] = f.packets[b]
    c.reply_octets[n] = octets_of(f, b)
    c.state[n] = f.state
    c.end_reason[n] = <uint8_t>reason
    c.tunnel[n] = <uint16_t>(meta >> 48)
    c.application[n] = _application(t, f.content, _label(t, protocol, c.src_port[n], c.dst_port[n]))
    c.least_octets[n] = f.least_octets[a] if f.packets[a] else 0
    c.most_octets[n] = f.most_octets[a]
    c.reply_least_octets[n] = f.least_octets[b] if f.packets[b] else 0
    c.reply_most_octets[n] = f.most_octets[b]
    c.least_gap_us[n] = f.least_gap_us if f.most_gap_us or f.least_gap_us == 0 else 0
    c.most_gap_us[n] = f.most_gap_us
    c.retransmits[n] = rest.retransmits[a]
    c.reply_retransmits[n] = rest.retransmits[b]
    c.server_rtt_us[n] = rtt_of(f, rest, 0)
    c.client_rtt_us[n] = rtt_of(f, rest, 1)
    c.count = n + 1
    t.exported += 1


cdef inline int64_t _limit(const Flows* t, const Flow* f) noexcept nogil:
    return t.linger_ns if f.state >= STATE_CLOSED and t.linger_ns < t.idle_ns else t.idle_ns


cdef inline int _reason(const Flow* f, int reason) noexcept nogil:
    return END_CLOSED if f.state >= STATE_CLOSED else reason


cdef inline void _ask_for_leaving(Flows* t, const List* list) noexcept nogil:
    # Entries go from the heads of the lists, one after the other: ask for the bucket of the next, which has come
    # meanwhile, and for the entry behind it.
    cdef uint32_t place = list.head
    if place == NOWHERE:
        return
    t.leaving = place
    t.leaving_hash = flow_hash(&t.seed, t.entries[place].key)
    prefetch(index_home(&t.index, t.leaving_hash))
    place = t.links[place].next
    if place != NOWHERE:
        prefetch(&t.entries[place])
        prefetch(&t.entries[place].first_ns)
        prefetch(&t.rests[place])


cdef inline void _release(Flows* t, uint32_t place, int reason) noexcept nogil:
    cdef Flow* f = &t.entries[place]
    cdef List* list = _list_of(t, f)
    _write(t, f, reason)
    index_remove(&t.index, t.leaving_hash if place == t.leaving else flow_hash(&t.seed, f.key), place)
    t.leaving = NOWHERE
    _unlink(t, list, place)
    _ask_for_leaving(t, list)
    f.bits = 0
    t.links[place].next = t.unused
    t.unused = place
    t.count -= 1


# ---- the end of flows

cdef inline bint flow_over(const Flows* t, const Flow* f, int64_t ts_ns) noexcept nogil:
    # Whether the flow had ended before this time, or the clock was set back since: its times mean nothing any more.
    cdef int64_t quiet_ns = since(ts_ns, f.last_ns)
    return quiet_ns >= _limit(t, f) or quiet_ns <= -t.idle_ns


cdef inline uint32_t _look(
    Flows* t, List* list, int64_t oldest_ns, int64_t newest_ns, uint32_t steps
) noexcept nogil:
    # End what is over at the head of a list, at every time in this span; the number ended.
    cdef uint32_t ended = 0
    cdef uint32_t place
    cdef Flow* f
    while steps > 0 and list.head != NOWHERE and t.columns.count < t.columns.capacity:
        place = list.head
        f = &t.entries[place]
        if since(oldest_ns, f.last_ns) >= _limit(t, f) or since(f.last_ns, newest_ns) >= t.idle_ns:
            _release(t, place, _reason(f, END_IDLE))
            ended += 1
        elif f.bits & BIT_TOUCHED and list.head != list.tail:
            _unlink(t, list, place)
            _link(t, list, place)
        else:
            break
        steps -= 1
    return ended


cdef inline void _make_room(Flows* t, int64_t now_ns) noexcept nogil:
    # The table is full: the oldest goes. A closed flow that only waits for stragglers goes before any other.
    cdef List* list = &t.closed if t.closed.head != NOWHERE else &t.open
    cdef int chances = SECOND_CHANCES
    cdef Flow* f = &t.entries[list.head]
    while chances > 0 and f.bits & BIT_TOUCHED and list.head != list.tail:
        _unlink(t, list, list.head)
        _link(t, list, <uint32_t>(f - t.entries))
        f = &t.entries[list.head]
        chances -= 1
    if f.state >= STATE_CLOSED:
        _release(t, list.head, END_CLOSED)
    elif flow_over(t, f, now_ns):
        _release(t, list.head, END_IDLE)
    else:
        t.evicted += 1
        _release(t, list.head, END_EVICTED)


cdef inline void _restart(Flows* t, Flow* f, int64_t ts_ns) noexcept nogil:
    # The record has been written: count from zero.
    measures_restart(f, rest_of(t, f))
    f.first_ns = ts_ns
    f.packets[0] = f.packets[1] = 0
    f.octets[0] = f.octets[1] = 0
    f.octets_high[0] = f.octets_high[1] = 0
    if <uint8_t>(f.key[4] >> 32) == IP_TCP:     # not the frame's protocol: an ICMP error counts for what it quotes
        f.flags[0] = f.flags[1] = 0


cdef inline void _begin(Flows* t, Flow* f, const Packet* k) noexcept nogil:
    # The first frame of a flow; it is counted later.
    cdef FlowRest* rest = rest_of(t, f)
    memset(rest, 0, sizeof(FlowRest))
    _restart(t, f, k.ts_ns)
    f.last_ns = k.ts_ns
    f.state = 0
    f.known = 0
    f.content = CONTENT_UNKNOWN
    f.bits = BIT_USED | (BIT_OPENER if k.side else 0)
    f.flags[0] = k.icmp_type
    f.flags[1] = k.icmp_code
    if k.src_mac != NULL:
        memcpy(rest.mac[k.side], k.src_mac, 6)
    if k.dst_mac != NULL:
        memcpy(rest.mac[1 - k.side], k.dst_mac, 6)
    f.eth_place[0] = f.eth_place[1] = f.ip_place[0] = f.ip_place[1] = NOWHERE


# ---- a frame

cdef inline uint32_t flow_prefetch(const Flows* t, const Packet* k) noexcept nogil:
    # Ask for the entry that the index names for this hash: it is needed a moment later. Its place, if there is one.
    cdef const Bucket* b = index_home(&t.index, k.hash)
    cdef uint64_t found = index_matches(b, k.hash)
    cdef uint32_t place
    cdef const Flow* f
    if found == 0:
        return NOWHERE
    place = index_place(b, found)
    f = &t.entries[place]
    prefetch(f)
    prefetch(&f.first_ns)
    return place


cdef inline uint32_t flow_find(const Flows* t, const uint64_t* key, uint64_t hash) noexcept nogil:
    cdef const Bucket* b = index_home(&t.index, hash)
    cdef uint64_t found
    cdef uint32_t place
    while True:
        found = index_matches(b, hash)
        while found:
            place = index_place(b, found)
            if same6(t.entries[place].key, key):
                return place
            found &= found - 1
        if b.beyond == 0:
            return NOWHERE
        b = index_next(&t.index, b)


cdef inline Flow* flow_of(Flows* t, const Packet* k) noexcept nogil:
    # The entry of this frame's flow, made if it is new. At most two records are written.
    cdef uint32_t place = k.place
    cdef bint tcp = k.protocol == IP_TCP
    cdef Flow* f
    if place == NOWHERE or not t.entries[place].bits & BIT_USED or not same6(t.entries[place].key, k.key):
        place = flow_find(t, k.key, k.hash)     # the batch has changed the table since the place was looked up
    if place != NOWHERE:
        f = &t.entries[place]
        if (
            flow_over(t, f, k.ts_ns)
            or (f.state >= STATE_CLOSED and tcp and (k.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
        ):
            _write(t, f, _reason(f, END_IDLE))
            _unlink(t, _list_of(t, f), place)
            _begin(t, f, k)
            _link(t, &t.open, place)
        else:
            f.bits |= BIT_TOUCHED
        return f
    if t.count == t.capacity:
        _make_room(t, k.ts_ns)
    if t.unused != NOWHERE:
        place = t.unused
        t.unused = t.links[place].next
    else:
        place = t.used
        t.used += 1
    t.count += 1
    f = &t.entries[place]
    copy_words(f.key, k.key, 6)
    _begin(t, f, k)
    _link(t, &t.open, place)
    index_add(&t.index, k.hash, place)
    return f


cdef inline void _count_waited(Flow* f, int side, const Packet* k) noexcept nogil:
    # Fragments that came before their first, which is this frame.
    f.packets[side] += k.waited
    add_octets(f, side, k.waited_octets)
    if k.waited_first_ns < f.first_ns:
        f.first_ns = k.waited_first_ns
    if k.waited_last_ns > f.last_ns:
        f.last_ns = k.waited_last_ns


cdef inline void flow_count(Flows* t, Flow* f, int side, const Packet* k) noexcept nogil:
    # Credit a frame to a flow.
    if (f.packets[0] | f.packets[1]) == 0:
        f.first_ns = k.ts_ns                # also after an ACTIVE record that time alone brought about
    if (
        (t.active_ns != 0 and since(k.ts_ns, f.first_ns) >= t.active_ns)
        or f.packets[side] >= <uint32_t>MOST_PACKETS or f.octets_high[side] >= MOST_OCTETS_HIGH
    ):
        _write(t, f, END_ACTIVE)
        _restart(t, f, k.ts_ns)
        f.last_ns = k.ts_ns
    measure_frame(f, side, k.octets, f.last_ns if f.packets[0] | f.packets[1] else k.ts_ns, k.ts_ns)
    if k.ts_ns > f.last_ns:
        f.last_ns = k.ts_ns
    elif k.ts_ns < f.first_ns:
        f.first_ns = k.ts_ns
    f.packets[side] += 1
    add_octets(f, side, k.octets)
    if k.waited:
        _count_waited(f, side, k)


cdef inline void flow_tcp(Flows* t, Flow* f, const Packet* k) noexcept nogil:
    # What the flags of a segment say about its flow.
    cdef uint32_t place
    f.flags[k.side] |= k.tcp_flags
    f.bits = opener_by_flags(f.bits, k.side, k.tcp_flags)
    measure_segment(f, rest_of(t, f), k, (f.bits & BIT_OPENER) == k.side)
    f.state = tcp_next(f.state, &f.bits, k.side, k.tcp_flags, f.packets[1 - k.side] != 0)
    if f.state >= STATE_CLOSED and not f.bits & BIT_WAITS:
        place = <uint32_t>(f - t.entries)
        _unlink(t, &t.open, place)
        f.bits |= BIT_WAITS
        _link(t, &t.closed, place)


cdef inline uint32_t flows_look(Flows* t, int64_t oldest_ns, int64_t newest_ns, uint32_t frames) noexcept nogil:
    # After a batch of frames, of which these are the times: a bounded look at what may be over.
    return (
        _look(t, &t.closed, oldest_ns, newest_ns, frames + 2) + _look(t, &t.open, oldest_ns, newest_ns, 4)
    )


cdef inline uint32_t flows_expire(Flows* t, int64_t now_ns) noexcept nogil:
    # Every flow that is over at this time, as far as there is room for records.
    cdef uint32_t ended = 0
    cdef uint32_t place
    cdef Flow* f
    for place in range(t.used):
        if t.columns.count >= t.columns.capacity:
            break
        f = &t.entries[place]
        if not f.bits & BIT_USED:
            continue
        if flow_over(t, f, now_ns):
            _release(t, place, _reason(f, END_IDLE))
            ended += 1
        elif t.active_ns != 0 and since(now_ns, f.first_ns) >= t.active_ns and (f.packets[0] or f.packets[1]):
            _write(t, f, END_ACTIVE)
            ended += 1
            _restart(t, f, now_ns)
    return ended


cdef inline uint32_t flows_flush(Flows* t, int64_t now_ns) noexcept nogil:
    # Write and release entries, oldest first, as many as there is room for.
    cdef uint32_t moved = 0
    cdef uint32_t place
    while t.count > 0 and t.columns.count < t.columns.capacity:
        place = t.closed.head if t.closed.head != NOWHERE else t.open.head
        if flow_over(t, &t.entries[place], now_ns):
            _release(t, place, _reason(&t.entries[place], END_IDLE))
        else:
            _release(t, place, _reason(&t.entries[place], END_FLUSH))
        moved += 1
    return moved
