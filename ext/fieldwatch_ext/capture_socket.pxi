# An AF_PACKET socket with a TPACKET_V3 ring (packet(7); Documentation/networking/packet_mmap.rst of the kernel): the
# kernel fills blocks of frames in memory that both share; a block is ours until we hand it back.
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.ioctl cimport ioctl
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        uint16_t sa_family
    int AF_PACKET, SOCK_RAW, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR, SO_ATTACH_FILTER, SO_DETACH_FILTER
    int socket(int domain, int kind, int protocol)
    int bind(int fd, const sockaddr* address, uint32_t length)
    int setsockopt(int fd, int level, int option, const void* value, uint32_t length)
    int getsockopt(int fd, int level, int option, void* value, uint32_t* length)

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t value)

cdef extern from "<net/if.h>" nogil:
    int IFNAMSIZ
    struct ifreq:
        char* ifr_name
        int ifr_ifindex
        sockaddr ifr_hwaddr
        int ifr_mtu
    unsigned int if_nametoindex(const char* name)

cdef extern from "<sys/ioctl.h>" nogil:
    int SIOCGIFNAME, SIOCGIFHWADDR, SIOCGIFMTU

cdef extern from "<linux/if_ether.h>" nogil:
    int ETH_P_ALL, ETH_P_8021Q

cdef extern from "<linux/if_arp.h>" nogil:
    int ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE, ARPHRD_RAWIP

cdef extern from "<linux/if_packet.h>" nogil:
    int SOL_PACKET, TPACKET_V3, PACKET_OUTGOING, PACKET_MR_PROMISC
    int PACKET_VERSION, PACKET_RESERVE, PACKET_RX_RING, PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS
    int PACKET_FANOUT, PACKET_FANOUT_HASH, PACKET_FANOUT_FLAG_UNIQUEID
    unsigned int TP_STATUS_USER, TP_STATUS_KERNEL, TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID
    size_t TPACKET_ALIGN(size_t octets)
    struct sockaddr_ll:
        uint16_t sll_family
        uint16_t sll_protocol
        int sll_ifindex
        uint8_t sll_pkttype
    struct packet_mreq:
        int mr_ifindex
        uint16_t mr_type
    struct tpacket_req3:
        unsigned int tp_block_size
        unsigned int tp_block_nr
        unsigned int tp_frame_size
        unsigned int tp_frame_nr
        unsigned int tp_retire_blk_tov
    struct tpacket_stats_v3:
        unsigned int tp_packets
        unsigned int tp_drops
        unsigned int tp_freeze_q_cnt
    struct tpacket_hdr_variant1:
        uint32_t tp_vlan_tci
        uint16_t tp_vlan_tpid
    struct tpacket3_hdr:
        uint32_t tp_next_offset
        uint32_t tp_sec
        uint32_t tp_nsec
        uint32_t tp_snaplen
        uint32_t tp_len
        uint32_t tp_status
        uint16_t tp_mac
        tpacket_hdr_variant1 hv1
    struct tpacket_hdr_v1:
        uint32_t block_status
        uint32_t num_pkts
        uint32_t offset_to_first_pkt
    union tpacket_bd_header_u:
        tpacket_hdr_v1 bh1
    struct tpacket_block_desc:
        tpacket_bd_header_u hdr

cdef extern from "<linux/filter.h>" nogil:
    int BPF_RET, BPF_K
    struct sock_filter:
        uint16_t code
        uint32_t k
    struct sock_fprog:
        unsigned short len
        sock_filter* filter

cdef extern from *:
    """
    static inline uint32_t fw_load_acquire(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void fw_store_release(uint32_t *p, uint32_t value) { __atomic_store_n(p, value, __ATOMIC_RELEASE); }
    """
    uint32_t fw_load_acquire(const uint32_t* p) noexcept nogil
    void fw_store_release(uint32_t* p, uint32_t value) noexcept nogil

cdef enum:
    RING_BLOCK_OCTETS = 131072      # a power of two pages on every page size; holds a 64 KiB frame with room to spare
    RING_MIN_BLOCKS = 2
    RING_FRAME_OCTETS = 2048        # only a unit of account in V3
    VLAN_TAG_LEN = 4
    MAC_PAIR_LEN = 12
    LONGEST_HEADER = 22             # Ethernet with two VLAN tags: what a frame may have beside the MTU

# What was being done when the kernel refused.
cdef enum RingStep:
    STEP_SOCKET
    STEP_HARDWARE
    STEP_RING
    STEP_BIND
    STEP_FANOUT
    STEP_PROMISCUOUS

cdef struct Ring:
    int fd                          # -1 = closed
    int ifindex
    uint16_t hardware               # ARPHRD_ value
    uint8_t* memory
    size_t memory_octets
    uint32_t block_count
    bint shares                     # it has a group in which each frame comes to one ring
    uint32_t longest                # octets of a frame as the interface may put it on the wire


cdef int ring_socket(Ring* ring, const char* interface, int ifindex, RingStep* step) noexcept nogil:
    """A packet socket that receives nothing yet, and the interface's hardware type; errno, or 0."""
    cdef ifreq request
    step[0] = STEP_SOCKET
    ring.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
    if ring.fd < 0:
        return errno
    ring.ifindex = ifindex
    ring.longest = 0xFFFFFFFF       # until it is learnt
    step[0] = STEP_HARDWARE
    memset(&request, 0, sizeof(request))
    memcpy(request.ifr_name, interface, IFNAMSIZ)
    if ioctl(ring.fd, SIOCGIFHWADDR, &request) < 0:
        return errno
    ring.hardware = request.ifr_hwaddr.sa_family
    return 0


cdef void learn_longest(Ring* ring) noexcept nogil:
    """Ask for the MTU (as of now, people change it); it stays as it was where the interface has gone."""
    cdef ifreq request
    memset(&request, 0, sizeof(request))
    request.ifr_ifindex = ring.ifindex
    if ioctl(ring.fd, SIOCGIFNAME, &request) == 0 and ioctl(ring.fd, SIOCGIFMTU, &request) == 0:
        ring.longest = <uint32_t>request.ifr_mtu + LONGEST_HEADER


cdef int ring_start(
    Ring* ring, uint32_t block_count, uint32_t timeout_ms, bint promiscuous, Ring* beside, RingStep* step
) noexcept nogil:
    """Make the ring and let frames in, its share of them if another ring is `beside` it (else NULL); errno, or 0."""
    cdef packet_mreq membership
    cdef int error
    if beside == NULL:
        error = make_ring(ring, block_count, timeout_ms, step) or bind_ring(ring, step)
    else:
        error = make_ring_beside(ring, beside, block_count, timeout_ms, step)
    if error:
        return error
    step[0] = STEP_PROMISCUOUS
    memset(&membership, 0, sizeof(membership))
    membership.mr_ifindex = ring.ifindex
    membership.mr_type = <uint16_t>PACKET_MR_PROMISC
    if promiscuous and setsockopt(
        ring.fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof(membership)
    ) < 0:
        return errno
    return 0


cdef int make_ring(Ring* ring, uint32_t block_count, uint32_t timeout_ms, RingStep* step) noexcept nogil:
    """Errno, or 0."""
    cdef int version = TPACKET_V3
    cdef unsigned int reserve = VLAN_TAG_LEN    # headroom for the tag that the kernel took out
    cdef tpacket_req3 request
    cdef void* memory
    step[0] = STEP_RING
    memset(&request, 0, sizeof(request))
    request.tp_block_size = RING_BLOCK_OCTETS
    request.tp_block_nr = block_count
    request.tp_frame_size = RING_FRAME_OCTETS
    request.tp_frame_nr = block_count * (RING_BLOCK_OCTETS // RING_FRAME_OCTETS)
    request.tp_retire_blk_tov = timeout_ms
    if (
        setsockopt(ring.fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) < 0
        or setsockopt(ring.fd, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof(reserve)) < 0
        or setsockopt(ring.fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) < 0
    ):
        return errno
    ring.memory_octets = <size_t>block_count * RING_BLOCK_OCTETS
    memory = mmap(NULL, ring.memory_octets, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0)
    if memory == MAP_FAILED:
        return errno
    ring.memory = <uint8_t*>memory
    ring.block_count = block_count
    return 0


cdef int bind_ring(Ring* ring, RingStep* step) noexcept nogil:
    """Errno, or 0."""
    cdef sockaddr_ll address
    step[0] = STEP_BIND
    memset(&address, 0, sizeof(address))
    address.sll_family = <uint16_t>AF_PACKET
    address.sll_protocol = htons(<uint16_t>ETH_P_ALL)
    address.sll_ifindex = ring.ifindex
    return errno if bind(ring.fd, <const sockaddr*>&address, sizeof(address)) < 0 else 0


cdef int make_ring_beside(
    Ring* ring, Ring* beside, uint32_t block_count, uint32_t timeout_ms, RingStep* step
) noexcept nogil:
    """Join the rings that share the frames, so that no frame comes twice; errno, or 0.

    A socket can join others only once it is bound, and until then each frame would come to it as well as to them: a
    filter keeps them out. A processor may still be handing over a frame by the old way when the socket has joined, so
    the filter stays until the ring is made: for that the kernel takes the socket out of the group, waits until all
    processors have finished what they were handing over, and puts it back. The share of the new ring is missed for the
    milliseconds that its memory takes: capture on it has not begun.
    """
    cdef int unused = 0
    cdef int error = take_nothing(ring) or bind_ring(ring, step)
    if error:
        return error
    step[0] = STEP_FANOUT
    error = join(ring, beside) or make_ring(ring, block_count, timeout_ms, step)
    if error:
        return error
    step[0] = STEP_FANOUT
    return errno if setsockopt(ring.fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) < 0 else 0


cdef int take_nothing(Ring* ring) noexcept nogil:
    """Let no frame in; errno, or 0."""
    cdef sock_filter reject
    cdef sock_fprog program
    memset(&reject, 0, sizeof(reject))
    reject.code = <uint16_t>(BPF_RET | BPF_K)
    program.len = 1
    program.filter = &reject
    return errno if setsockopt(ring.fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 else 0


cdef int join(Ring* ring, Ring* beside) noexcept nogil:
    """Share the frames with `beside` and those that it shares with, by the kernel's hash of a flow (packet(7)).

    The hash is the same for both directions of a flow. PACKET_FANOUT_FLAG_DEFRAG would hand over whole datagrams in
    the place of their fragments, which are not the frames that were on the wire: without it, those of a datagram have
    one hash, that of their addresses.
    """
    cdef int group = 0
    cdef uint32_t length = sizeof(group)
    if not beside.shares:
        group = (PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_UNIQUEID) << 16
        if setsockopt(beside.fd, SOL_PACKET, PACKET_FANOUT, &group, sizeof(group)) < 0:
            return errno
        beside.shares = True
    if (
        getsockopt(beside.fd, SOL_PACKET, PACKET_FANOUT, &group, &length) < 0
        or setsockopt(ring.fd, SOL_PACKET, PACKET_FANOUT, &group, sizeof(group)) < 0
    ):
        return errno
    ring.shares = True
    return 0


cdef void ring_close(Ring* ring) noexcept nogil:
    if ring.memory != NULL:
        munmap(ring.memory, ring.memory_octets)
        ring.memory = NULL
    if ring.fd >= 0:
        close(ring.fd)
        ring.fd = -1


cdef inline tpacket_block_desc* ring_block(const Ring* ring, uint32_t number) noexcept nogil:
    return <tpacket_block_desc*>(ring.memory + <size_t>number * RING_BLOCK_OCTETS)


cdef inline bint block_is_ours(const tpacket_block_desc* block) noexcept nogil:
    return (fw_load_acquire(&block.hdr.bh1.block_status) & TP_STATUS_USER) != 0


cdef inline void hand_back(tpacket_block_desc* block) noexcept nogil:
    fw_store_release(&block.hdr.bh1.block_status, TP_STATUS_KERNEL)


cdef bint interface_is_gone(const Ring* ring) noexcept nogil:
    """Whether no interface has the number any more (asked in the socket's own network namespace)."""
    cdef ifreq request
    memset(&request, 0, sizeof(request))
    request.ifr_ifindex = ring.ifindex
    return ioctl(ring.fd, SIOCGIFNAME, &request) < 0


cdef inline void restore_vlan_tag(const tpacket3_hdr* header, FrameRef* frame) noexcept nogil:
    """Put the outer tag, which the kernel keeps beside the frame, back behind the MACs: these move into the reserve."""
    cdef uint8_t* octets = <uint8_t*>frame.octets - VLAN_TAG_LEN
    cdef uint16_t tpid = header.hv1.tp_vlan_tpid
    cdef uint16_t tci = <uint16_t>header.hv1.tp_vlan_tci
    if not header.tp_status & TP_STATUS_VLAN_TPID_VALID:
        tpid = <uint16_t>ETH_P_8021Q
    memmove(octets, frame.octets, MAC_PAIR_LEN)
    octets[MAC_PAIR_LEN] = <uint8_t>(tpid >> 8)
    octets[MAC_PAIR_LEN + 1] = <uint8_t>tpid
    octets[MAC_PAIR_LEN + 2] = <uint8_t>(tci >> 8)
    octets[MAC_PAIR_LEN + 3] = <uint8_t>tci
    frame.octets = octets
    frame.captured += VLAN_TAG_LEN
    frame.original += VLAN_TAG_LEN


cdef inline void ring_frame(const tpacket3_hdr* header, uint16_t linktype, FrameRef* out) noexcept nogil:
    out.octets = <const uint8_t*>header + header.tp_mac
    out.ts_ns = <int64_t>header.tp_sec * 1000000000 + header.tp_nsec
    out.captured = header.tp_snaplen
    out.original = max(header.tp_len, header.tp_snaplen)
    out.linktype = linktype
    out.interface = 0
    if header.tp_status & TP_STATUS_VLAN_VALID and linktype == LINKTYPE_ETHERNET and out.captured >= MAC_PAIR_LEN:
        restore_vlan_tag(header, out)


cdef inline bint is_outgoing(const tpacket3_hdr* header) noexcept nogil:
    cdef const uint8_t* address = <const uint8_t*>header + TPACKET_ALIGN(sizeof(tpacket3_hdr))
    return (<const sockaddr_ll*>address).sll_pkttype == PACKET_OUTGOING
