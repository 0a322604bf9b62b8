"""The contenders of a benchmark."""
