"""The commands of `fieldwatch-collector`: one module a group, each light until its work is asked for."""
