"""What the environments cost; ``distmllm speed`` measures it, see :mod:`.run`."""
