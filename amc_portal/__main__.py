"""`python -m amc_portal`."""

import sys

from amc_portal.commands import main

if __name__ == "__main__":
    sys.exit(main())
