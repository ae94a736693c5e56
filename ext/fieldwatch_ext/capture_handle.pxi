from cpython.exc cimport PyErr_SetInterrupt
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from fieldwatch_ext.bpf cimport Instruction, Program

cdef enum:
    HANDLE_BLOCK_OCTETS = 1048576   # a block ends with the frame that reaches this
    HANDLE_POLL_MS = 100

# DLT_ values that libpcap gives an open handle, where the files' LINKTYPE_ value is another.
_LINKTYPE_OF_DLT = {11: 100, 12: 101, 14: 101, 15: 102, 16: 103, 19: 106}


cdef class HandleSource(Source):
    cdef readonly int linktype
    cdef readonly str problem
    cdef object _handle
    cdef int _fd                    # to wait on; -1 = the handle reads a file, where no packet means the end
    cdef bint _ended
    cdef list _block                # the frames handed out last, as the handle gave them
    cdef Program _filter
    cdef const Instruction* _instructions

    def __init__(self, handle, *, Program filter=None, int linktype=-1):
        datalink = handle.datalink()
        self.linktype = _LINKTYPE_OF_DLT.get(datalink, datalink) if linktype < 0 else linktype
        self._handle = handle
        self._filter = filter
        self._instructions = NULL if filter is None else filter.instructions
        self._block = []
        try:
            handle.stats()
        except Exception:           # libpcap's one way to say that the handle reads a file
            self._fd = -1
        else:
            # libpcap may wait on a silent link for ever, whatever its timeout: the waiting is done here.
            handle.setnonblock(1)
            self._fd = handle.getfd()

    def close(self):
        """Forget the handle; it stays open: it is the caller's."""
        self._ended = True
        self._handle = None
        self._block = []

    cdef int next_block(self, FrameRef* out, int capacity) noexcept nogil:
        cdef int count
        cdef pollfd waiting
        with gil:
            count = self._fill(out, capacity)
        if count or self._fd < 0:
            return count
        # Only once the handle is empty: its descriptor says nothing of packets that it has taken in already.
        waiting.fd = self._fd
        waiting.events = <short>POLLIN
        waiting.revents = 0
        if poll(&waiting, 1, HANDLE_POLL_MS) <= 0:
            return 0
        with gil:
            return self._fill(out, capacity)

    cdef int _fill(self, FrameRef* out, int capacity) noexcept:
        """Frames as long as the handle has any; -1 = it has ended."""
        cdef int count = 0
        cdef size_t held_octets = 0
        cdef bytes octets
        cdef FrameRef* frame
        self._block = []
        while count < capacity and held_octets < HANDLE_BLOCK_OCTETS and not self._ended:
            try:
                header, octets = self._handle.next()
                if header is None:
                    self._ended = self._fd < 0
                    break
                seconds, microseconds = header.getts()
                frame = &out[count]
                frame.ts_ns = <int64_t>seconds * 1000000000 + <int64_t>microseconds * 1000
                frame.original = max(<uint32_t>header.getlen(), <uint32_t>len(octets))
            except KeyboardInterrupt:
                PyErr_SetInterrupt()        # it cannot pass through here: let it come again outside
                break
            except Exception as error:
                self.problem = f"libpcap cannot go on: {error}"
                self._ended = True
                break
            frame.octets = <const uint8_t*><const char*>octets
            frame.captured = <uint32_t>len(octets)
            frame.linktype = <uint16_t>self.linktype
            frame.interface = 0
            if admit(&self.tally, frame, self._instructions):
                self._block.append(octets)
                held_octets += frame.captured
                count += 1
        return -1 if count == 0 and self._ended else count
