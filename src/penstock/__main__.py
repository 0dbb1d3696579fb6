"""`python -m penstock` is `penstock`."""

import sys

from penstock.app.cli import main

sys.exit(main())
