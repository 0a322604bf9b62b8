"""Proof that what was written is what was read, and computes the same."""
