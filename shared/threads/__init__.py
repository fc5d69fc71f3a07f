"""Deletes stored data: threads, all data of an owner, and old records."""
