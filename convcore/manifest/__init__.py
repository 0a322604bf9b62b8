"""The record of an output: what it holds, where each tensor came from or went."""
