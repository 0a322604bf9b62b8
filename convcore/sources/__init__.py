"""What a training framework wraps around weights: envelopes become named tensors."""
