"""`python -m bitlens` is the command line."""

from bitlens.cli import main

main()
