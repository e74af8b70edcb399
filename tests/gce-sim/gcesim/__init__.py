"""A simulator of the Compute Engine REST API for tests.

What may be asked and answered is read from Google's own description of the API (the discovery document that comes with
google-api-python-client): every route, parameter, request body and answer is checked against it. How the API behaves in time
(operations, states of instances, repeated requests) is written here.
"""
