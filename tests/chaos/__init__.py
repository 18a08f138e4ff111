"""Real worker processes, killed for real: a crash at every call, and seeded schedules of everything that goes wrong.

`python -m tests.chaos --seeds 1000 --from 1` runs schedules; `python -m tests.chaos --matrix` the crash matrix. One
process loads Django once and forks workers, clocks and people from there, so that a worker is up in milliseconds and a
thousand schedules take minutes. A failure prints its seed, its schedule and the command that repeats it.
"""
