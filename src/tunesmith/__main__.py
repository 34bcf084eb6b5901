"""``python -m tunesmith`` is the same as ``tunesmith``."""

from tunesmith.cli.main import main

main()
