"""Facts, of the rare frames that a dissector looks into. The contract stands in facts.pyi."""

cimport cython
from cpython.object cimport PyObject

from fieldwatch_ext.text cimport plain

cdef enum:                      # fields of the frame and of the fact
    SLOW_NUMBER = 0
    SLOW_TS_NS = 1
    SLOW_PROTOCOL = 2
    SLOW_VLANS = 5
    SLOW_SRC_IP = 6
    FACT_SUBJECT = 0
    FACT_KEY = 1
    FACT_VALUE = 2
    FACT_CONFIDENCE = 5

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(PyObject* made)

cdef object _make = tuple.__new__      # without the call of a function that checks the number of fields


@cython.boundscheck(True)
def make_fact(
    kind, clean, Py_ssize_t most_octets, slow, subject, key, value not None, evidence not None, confidence, /
):
    cdef tuple frame
    if not isinstance(slow, tuple):
        raise TypeError(f"a frame is a tuple, not {type(slow).__name__}")
    frame = <tuple>slow
    text = plain(value, most_octets)
    if text is None:
        text = clean(value)
    told = plain(evidence, most_octets)
    if told is None:
        told = clean(evidence)
    fact = _make(kind, (
        subject, key, text, frame[SLOW_PROTOCOL], told, confidence, frame[SLOW_TS_NS], frame[SLOW_NUMBER],
        frame[SLOW_VLANS], frame[SLOW_SRC_IP],
    ))
    PyObject_GC_UnTrack(<PyObject*>fact)    # texts, octets and numbers: it is in no cycle, ever
    return fact


@cython.boundscheck(True)
def keep_distinct(dict found not None, items, kind, Py_ssize_t most, Py_ssize_t most_seen, /):
    cdef Py_ssize_t seen = 0
    cdef tuple fields
    for item in items:
        if seen == most_seen:
            return False
        seen += 1
        if not isinstance(item, tuple):
            raise TypeError(f"an item is a tuple, not {type(item).__name__}")
        fields = <tuple>item
        if type(item) is kind:
            if not fields[FACT_SUBJECT] or not fields[FACT_VALUE]:
                continue
            key = (fields[FACT_SUBJECT], fields[FACT_KEY], fields[FACT_VALUE])
            known = found.get(key)
            if known is not None:
                if fields[FACT_CONFIDENCE] > (<tuple>known)[FACT_CONFIDENCE]:
                    found[key] = item
                continue
        else:
            key = (fields[0], fields[1])
            if key in found:
                continue
        if len(found) == most:
            return False
        found[key] = item
    return True
