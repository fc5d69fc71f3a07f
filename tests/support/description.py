"""Prints every function of the app with its trigger: `python -m tests.support.description`."""

import json

import function_app
from local.host.functions import index_functions

if __name__ == "__main__":
    described = [[f.name, dict(f.trigger)] for f in index_functions(function_app)]
    print(json.dumps(described, default=str))  # noqa: T201 - what it is for
