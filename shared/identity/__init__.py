"""The identities with which the app calls Azure."""
