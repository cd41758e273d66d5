"""`python -m mynamo`: the command line."""

from mynamo.cli import main

main()
