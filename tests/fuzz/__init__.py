"""Hostile input against everything that reads what strangers send."""
