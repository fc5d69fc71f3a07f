"""Creates threads, and deletes stored data: threads, all data of an owner, and old records."""
