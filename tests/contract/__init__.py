"""The emulator, held to its contract by the official clients."""
