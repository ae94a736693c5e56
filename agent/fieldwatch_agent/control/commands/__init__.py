"""The commands, one in each module, which has the command's name. Only `registry` imports them, with the first use."""
