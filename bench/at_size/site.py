"""The portal as gunicorn serves it, with the bare list beside it."""

from bench.bare import add_bare_list
from portal.wsgi import application as application

add_bare_list()
