"""The REST interface, version 1: what the pages do, for programs. `urls.py` is where it begins.

Operations check with `services.access`, read with the selectors and act with the services and forms of the pages.
"""
