"""``python -m onboarding.identity``: see :mod:`onboarding.identity.command`.

The libraries take a second to load; signals are listened to before.
"""

import sys

from onboarding.identity import stopping

if __name__ == "__main__":
    stopping.listen()
    from onboarding.identity.command import main

    sys.exit(stopping.stoppable(main))
