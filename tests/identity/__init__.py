"""The app's own identities, against a local Microsoft Entra and managed identity."""
