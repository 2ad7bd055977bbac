"""``python -m imagekit``."""

from imagekit.cli.main import main

main()
