"""``python -m distmllm_bench`` is the ``distmllm`` command."""

from distmllm_bench.cli import main

main()
