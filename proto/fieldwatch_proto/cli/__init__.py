"""The command line: the base that all programs share (`command`, `tables`), and the client's commands."""
