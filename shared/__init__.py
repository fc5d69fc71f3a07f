"""Azure AI Foundry agents behind HTTP endpoints and Storage queues.

Installed, this package is also importable as ``AgentOperatingSystem``.
"""
