"""The classic BPF machine (McCanne and Jacobson 1993): accumulator A, index X, 16 words of scratch memory M.

A program is checked once, when it is made: known operations only, jumps forward and inside, scratch indices below 16,
no division by a constant zero, a RET at the end. So the machine needs no check of its own but the bounds of the frame,
and it always halts. A load beyond the captured octets, or a division by an X of zero, rejects the frame (as in BSD).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fieldwatch_ext.errors import FilterError

cdef enum:
    SCRATCH_WORDS = 16
    MAX_INSTRUCTIONS = 65536

# Operation codes: class | size or operator | addressing mode or operand, as in <net/bpf.h>.
cdef enum:
    LD_IMM = 0x00
    LD_W_ABS = 0x20
    LD_H_ABS = 0x28
    LD_B_ABS = 0x30
    LD_W_IND = 0x40
    LD_H_IND = 0x48
    LD_B_IND = 0x50
    LD_MEM = 0x60
    LD_W_LEN = 0x80
    LDX_IMM = 0x01
    LDX_MEM = 0x61
    LDX_W_LEN = 0x81
    LDX_B_MSH = 0xB1        # 4 * (octet & 0xf): the length of an IPv4 header
    ST = 0x02
    STX = 0x03
    ADD_K = 0x04
    ADD_X = 0x0C
    SUB_K = 0x14
    SUB_X = 0x1C
    MUL_K = 0x24
    MUL_X = 0x2C
    DIV_K = 0x34
    DIV_X = 0x3C
    OR_K = 0x44
    OR_X = 0x4C
    AND_K = 0x54
    AND_X = 0x5C
    LSH_K = 0x64
    LSH_X = 0x6C
    RSH_K = 0x74
    RSH_X = 0x7C
    NEG = 0x84
    MOD_K = 0x94
    MOD_X = 0x9C
    XOR_K = 0xA4
    XOR_X = 0xAC
    JA = 0x05
    JEQ_K = 0x15
    JEQ_X = 0x1D
    JGT_K = 0x25
    JGT_X = 0x2D
    JGE_K = 0x35
    JGE_X = 0x3D
    JSET_K = 0x45
    JSET_X = 0x4D
    RET_K = 0x06
    RET_A = 0x16
    TAX = 0x07
    TXA = 0x87

OPERATIONS = frozenset((
    LD_IMM, LD_W_ABS, LD_H_ABS, LD_B_ABS, LD_W_IND, LD_H_IND, LD_B_IND, LD_MEM, LD_W_LEN,
    LDX_IMM, LDX_MEM, LDX_W_LEN, LDX_B_MSH, ST, STX,
    ADD_K, ADD_X, SUB_K, SUB_X, MUL_K, MUL_X, DIV_K, DIV_X, OR_K, OR_X, AND_K, AND_X,
    LSH_K, LSH_X, RSH_K, RSH_X, NEG, MOD_K, MOD_X, XOR_K, XOR_X,
    JA, JEQ_K, JEQ_X, JGT_K, JGT_X, JGE_K, JGE_X, JSET_K, JSET_X,
    RET_K, RET_A, TAX, TXA,
))
SCRATCH = frozenset((LD_MEM, LDX_MEM, ST, STX))
CONDITIONAL = frozenset((JEQ_K, JEQ_X, JGT_K, JGT_X, JGE_K, JGE_X, JSET_K, JSET_X))
DIVISION = frozenset((DIV_K, MOD_K))
RETURN = frozenset((RET_K, RET_A))


cdef inline uint32_t be32(const uint8_t* p) noexcept nogil:
    return <uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | p[3]


cdef inline uint32_t be16(const uint8_t* p) noexcept nogil:
    return <uint32_t>p[0] << 8 | p[1]


cdef inline bint within(uint32_t base, uint32_t offset, uint32_t octets, uint32_t captured) noexcept nogil:
    """Whether `octets` at base + offset are captured; no sum that could wrap."""
    return base <= captured and offset <= captured - base and octets <= captured - base - offset


cdef uint32_t run_filter(
    const Instruction* program, const uint8_t* frame, uint32_t captured, uint32_t original
) noexcept nogil:
    cdef uint32_t a = 0
    cdef uint32_t x = 0
    cdef uint32_t k
    cdef uint32_t scratch[SCRATCH_WORDS]
    cdef const Instruction* pc = program
    cdef uint16_t code
    memset(scratch, 0, sizeof(scratch))
    while True:
        code = pc.code
        k = pc.k
        # -- load
        if code == LD_H_ABS:
            if not within(0, k, 2, captured):
                return 0
            a = be16(frame + k)
        elif code == LD_W_ABS:
            if not within(0, k, 4, captured):
                return 0
            a = be32(frame + k)
        elif code == LD_B_ABS:
            if not within(0, k, 1, captured):
                return 0
            a = frame[k]
        elif code == LD_W_IND:
            if not within(x, k, 4, captured):
                return 0
            a = be32(frame + x + k)
        elif code == LD_H_IND:
            if not within(x, k, 2, captured):
                return 0
            a = be16(frame + x + k)
        elif code == LD_B_IND:
            if not within(x, k, 1, captured):
                return 0
            a = frame[x + k]
        elif code == LDX_B_MSH:
            if not within(0, k, 1, captured):
                return 0
            x = <uint32_t>(frame[k] & 0x0F) << 2
        elif code == LD_IMM:
            a = k
        elif code == LDX_IMM:
            x = k
        elif code == LD_W_LEN:
            a = original
        elif code == LDX_W_LEN:
            x = original
        elif code == LD_MEM:
            a = scratch[k]
        elif code == LDX_MEM:
            x = scratch[k]
        elif code == ST:
            scratch[k] = a
        elif code == STX:
            scratch[k] = x
        # -- jump
        elif code == JEQ_K:
            pc += pc.jump_true if a == k else pc.jump_false
        elif code == JGT_K:
            pc += pc.jump_true if a > k else pc.jump_false
        elif code == JGE_K:
            pc += pc.jump_true if a >= k else pc.jump_false
        elif code == JSET_K:
            pc += pc.jump_true if a & k else pc.jump_false
        elif code == JEQ_X:
            pc += pc.jump_true if a == x else pc.jump_false
        elif code == JGT_X:
            pc += pc.jump_true if a > x else pc.jump_false
        elif code == JGE_X:
            pc += pc.jump_true if a >= x else pc.jump_false
        elif code == JSET_X:
            pc += pc.jump_true if a & x else pc.jump_false
        elif code == JA:
            pc += k
        # -- return
        elif code == RET_K:
            return k
        elif code == RET_A:
            return a
        # -- arithmetic, modulo 2**32
        elif code == ADD_K:
            a += k
        elif code == ADD_X:
            a += x
        elif code == SUB_K:
            a -= k
        elif code == SUB_X:
            a -= x
        elif code == MUL_K:
            a *= k
        elif code == MUL_X:
            a *= x
        elif code == DIV_K:
            a //= k
        elif code == DIV_X:
            if x == 0:
                return 0
            a //= x
        elif code == MOD_K:
            a %= k
        elif code == MOD_X:
            if x == 0:
                return 0
            a %= x
        elif code == AND_K:
            a &= k
        elif code == AND_X:
            a &= x
        elif code == OR_K:
            a |= k
        elif code == OR_X:
            a |= x
        elif code == XOR_K:
            a ^= k
        elif code == XOR_X:
            a ^= x
        elif code == LSH_K:
            a = a << k if k < 32 else 0
        elif code == LSH_X:
            a = a << x if x < 32 else 0
        elif code == RSH_K:
            a = a >> k if k < 32 else 0
        elif code == RSH_X:
            a = a >> x if x < 32 else 0
        elif code == NEG:
            a = 0 - a
        # -- registers
        elif code == TAX:
            x = a
        elif code == TXA:
            a = x
        else:
            return 0        # no checked program gets here
        pc += 1


def _check(instructions):
    """Raise FilterError unless the program halts and touches nothing but its own memory."""
    count = len(instructions)
    if not 0 < count <= MAX_INSTRUCTIONS:
        raise FilterError(f"a filter has 1 to {MAX_INSTRUCTIONS} instructions, not {count}")
    for at, (code, jump_true, jump_false, k) in enumerate(instructions):
        where = f"instruction {at} of the filter"
        if not (0 <= jump_true <= 0xFF and 0 <= jump_false <= 0xFF and 0 <= k <= 0xFFFFFFFF):
            raise FilterError(f"{where} has a field out of range: {(code, jump_true, jump_false, k)}")
        if code not in OPERATIONS:
            raise FilterError(f"{where} has the unknown operation {code:#x}")
        if code in SCRATCH and k >= SCRATCH_WORDS:
            raise FilterError(f"{where} uses scratch word {k}; there are {SCRATCH_WORDS}")
        if code in DIVISION and k == 0:
            raise FilterError(f"{where} divides by zero")
        if code == JA and k >> 31:
            raise FilterError(f"{where} jumps back: a filter that loops is not run (leave out `protochain`)")
        furthest = k if code == JA else max(jump_true, jump_false) if code in CONDITIONAL else 0
        if at + 1 + furthest >= count and code not in RETURN:
            raise FilterError(f"{where} leads past the end of the program")


cdef class Program:
    def __cinit__(self):
        self.instructions = NULL
        self.count = 0

    def __init__(self, instructions):
        if self.instructions != NULL:
            raise FilterError("a filter program is made once")
        checked = [tuple(instruction) for instruction in instructions]
        if any(len(instruction) != 4 for instruction in checked):
            raise FilterError("an instruction is (code, jt, jf, k)")
        _check(checked)
        self.instructions = <Instruction*>calloc(len(checked), sizeof(Instruction))
        if self.instructions == NULL:
            raise MemoryError
        for code, jump_true, jump_false, k in checked:
            self.instructions[self.count] = Instruction(code, jump_true, jump_false, k)
            self.count += 1

    def __dealloc__(self):
        free(self.instructions)

    cdef uint32_t run(self, const uint8_t* frame, uint32_t captured, uint32_t original) noexcept nogil:
        if self.instructions == NULL:
            return 0
        return run_filter(self.instructions, frame, captured, original)

    def matches(self, bytes frame not None, original=None):
        cdef uint32_t captured = <uint32_t>len(frame)
        cdef uint32_t wire = captured if original is None else original
        return self.run(frame, captured, wire) != 0
