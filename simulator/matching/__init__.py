"""Matching that is real: a made-up population, both rule tables, the mapping job and sample files with known truth."""
