"""Two web hosts, three workers' hosts, a database, a Redis and Amazon, each in a network of its own on one machine.

`unshare --net python -m tests.hosts` as root, or `unshare --user --map-current-user --keep-caps --net python -m
tests.hosts` as anybody on a machine that lets people make namespaces; `tests/hosts/test_hosts.py` does it in the suite.
Nothing of it can be seen from outside, and all of it is gone with the process.
"""
