"""Azurite, the Azure Storage emulator: its pinned npm package, and how to connect to it."""
