"""Inference latency that can be believed: how it is sampled, recorded, compared and shown."""
