"""A local Functions host: serves a Python v2 function app without Azure Functions Core Tools.

It reads the same `function_app.app`, `host.json` and `local.settings.json` as the real host, and
treats HTTP, Storage queue and timer triggers in the same way.
"""
