"""`python -m deal_cli` is `deal`."""

from deal_cli.cli import main

main()
