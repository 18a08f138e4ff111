"""Checks, standardises, hashes and prepares identity files for AWS Entity Resolution (guide 7, step 1).

Imports nothing of Django and is usable alone: ``python -m onboarding.identity --help``. Reports, errors and progress
hold counts, row numbers and column names; never a value of a column.
"""

import os

# Polars' allocator reads this when Polars is first imported: freed memory goes back to the system at once, which keeps
# a worker about 100 MB smaller.
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:2,dirty_decay_ms:0,muzzy_decay_ms:0")
