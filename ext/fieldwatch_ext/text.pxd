# Octets to text, where nothing about them needs care.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(str text)
    const void* PyUnicode_DATA(str text)
    Py_ssize_t PyUnicode_GET_LENGTH(str text)

cdef enum:
    BLANK = 0x20
    TILDE = 0x7E                # the last printable character


cdef inline object plain(value, Py_ssize_t most_octets):
    # As plain_text of text.pyx, which is for Python. A text that stays as it is is not made anew.
    cdef const uint8_t* p
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t end, octets, at
    cdef bint is_text = False
    if isinstance(value, bytes):
        p = <const uint8_t*>PyBytes_AS_STRING(value)
        octets = PyBytes_GET_SIZE(value)
    elif isinstance(value, str) and PyUnicode_IS_ASCII(value):
        is_text = True
        p = <const uint8_t*>PyUnicode_DATA(value)
        octets = PyUnicode_GET_LENGTH(value)
    else:
        return None
    if octets > most_octets:
        return None
    end = octets
    for at in range(end):
        if p[at] < BLANK or p[at] > TILDE or (p[at] == BLANK and at and p[at - 1] == BLANK):
            return None
    if end and p[0] == BLANK:
        start = 1
    if end > start and p[end - 1] == BLANK:
        end -= 1
    if is_text and end - start == octets:
        return value
    return PyUnicode_DecodeASCII(<const char*>p + start, end - start, NULL)
