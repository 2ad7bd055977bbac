"""``python -m registry_server``."""

import sys

from registry_server.main import main

sys.exit(main())
