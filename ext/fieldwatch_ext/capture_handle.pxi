from cpython.exc cimport PyErr_SetInterrupt
from libc.stdint cimport uint16_t, uint32_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fieldwatch_ext.bpf cimport Instruction, Program

cdef enum:
    HANDLE_BLOCK_OCTETS = 1048576   # a block ends with the frame that reaches this,
    HANDLE_BLOCK_NS = 20000000      # or that comes so long after the first

# DLT_ values that libpcap gives an open handle, where the files' LINKTYPE_ value is another.
_LINKTYPE_OF_DLT = {11: 100, 12: 101, 14: 101, 15: 102, 16: 103, 19: 106}


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef class HandleSource(Source):
    cdef readonly int linktype
    cdef readonly str problem
    cdef object _handle
    cdef bint _is_file              # no packet means the end, not silence
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
        except Exception:       # libpcap has no statistics of a file
            self._is_file = True

    def close(self):
        """Forget the handle; it stays open: it is the caller's."""
        self._ended = True
        self._handle = None
        self._block = []

    cdef int next_block(self, FrameRef* out, int capacity) noexcept nogil:
        with gil:
            return self._fill(out, capacity)

    cdef int _fill(self, FrameRef* out, int capacity) noexcept:
        cdef int count = 0
        cdef size_t octets_held = 0
        cdef int64_t started = 0
        cdef bytes octets
        cdef FrameRef* frame
        if self._ended:
            return -1
        self._block = []
        while count < capacity and octets_held < HANDLE_BLOCK_OCTETS:
            try:
                header, octets = self._handle.next()
                if header is None:
                    self._ended = self._is_file
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
                octets_held += frame.captured
                count += 1
            if started == 0:
                started = monotonic_ns()
            elif monotonic_ns() - started > HANDLE_BLOCK_NS:
                break
        return -1 if count == 0 and self._ended else count
