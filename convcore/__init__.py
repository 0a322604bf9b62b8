"""convcore turns training checkpoints into components that can be shipped, proved and timed."""

__version__ = "0.1.0"
