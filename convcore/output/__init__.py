"""The folder a run leaves behind: staged, accounted for, described, reported."""
