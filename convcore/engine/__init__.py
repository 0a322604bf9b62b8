"""What runs a request from its first step to its last; only this room knows the order."""
