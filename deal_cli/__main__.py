"""`python -m deal_cli` is `deal`."""

from deal_cli.cli.app import main

main()
