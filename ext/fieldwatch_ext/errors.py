"""Errors of the kernel: only the machine and the user are ever to blame, never a frame."""


class CaptureError(Exception):
    """A source of frames cannot be opened or read: one line, with what mends it."""


class FilterError(ValueError):
    """A BPF program that is not valid."""
