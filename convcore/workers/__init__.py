"""Processes that are told one JSON line and answer in JSON lines."""
