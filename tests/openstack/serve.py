"""Serves one of OpenStack's WSGI applications on loopback: serve.py MODULE PORT."""

import importlib
import sys

import waitress

module, port = sys.argv[1], int(sys.argv[2])
# The applications read their own command line.
sys.argv = [module]
application = importlib.import_module(module).application
waitress.serve(application, host="127.0.0.1", port=port, threads=8, _quiet=True)
