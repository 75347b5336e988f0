"""Sec. 4.1, Implementation Details: baseline training."""
