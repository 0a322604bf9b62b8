"""What the optimiser must not take for zero or one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from convcore_onnx.surgery import IR_VERSION, optimise


class Small(torch.nn.Module):
    """Terms that count only for small inputs, as in a product of narrow Gaussians."""

    def __init__(self, term: float) -> None:
        super().__init__()
        self.term = term

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x + self.term) / (1 + self.term)


@pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations, called without our quiet
@pytest.mark.parametrize("term", [1e-10, 1e-8, 9e-6])
def test_a_small_term_survives_the_optimiser(term: float) -> None:
    module = Small(term).eval()
    example = torch.rand(3, 4)
    program = torch.onnx.export(
        module, (example,), dynamo=True, optimize=False, verbose=False, opset_version=20
    )
    assert program is not None
    inputs = np.array([[0.0, 1e-12, 1e-9, 1.0]], np.float32).repeat(3, 0)

    optimise(program.model)

    program.model.ir_version = IR_VERSION
    session = onnxruntime.InferenceSession(ir.to_proto(program.model).SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs})
    expected = module(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
