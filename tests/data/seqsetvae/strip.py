"""Strip a Lightning checkpoint of everything but weights, versions and hyper-parameters.

python tests/data/seqsetvae/strip.py TRAINED.ckpt STRIPPED.ckpt
"""

import sys

import torch

LEFT_OUT = ("optimizer_states", "lr_schedulers", "callbacks", "loops")

trained, stripped = sys.argv[1:]
checkpoint = torch.load(trained, weights_only=True)
torch.save({key: value for key, value in checkpoint.items() if key not in LEFT_OUT}, stripped)
