"""Sec. 4: runs, ledgers, tables and figures."""
