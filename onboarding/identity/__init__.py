"""Checks, standardises, hashes and prepares identity files for AWS Entity Resolution (guide 7, step 1).

Imports nothing of Django and is usable alone: ``python -m onboarding.identity --help``. Reports, errors and progress
hold counts, row numbers and column names; never a value of a column.
"""

import os

# Polars' allocator reads this when Polars is first imported: freed memory goes back to the system within a fifth of a
# second, which keeps a worker about 100 MB smaller. At once would cost a tenth of the time in page faults.
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:2,dirty_decay_ms:200,muzzy_decay_ms:0")
