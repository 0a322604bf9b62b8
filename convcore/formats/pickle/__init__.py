"""A pickle machine that looks nothing up, imports nothing and calls nothing."""
