"""``verify``: an output folder held against its manifest, its files and one another."""
