"""Octets to text, where nothing about them needs care. The contract stands in text.pyi."""

from fieldwatch_ext.text cimport plain


def plain_text(value not None, Py_ssize_t most_octets):
    return plain(value, most_octets)
