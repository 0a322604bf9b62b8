"""Processes that are told JSON lines and answer in JSON lines."""
