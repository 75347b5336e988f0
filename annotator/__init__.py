"""The method in a person's hands: a page, its server, and what it writes (Secs. 3.2 and 3.3, D31, D32)."""
