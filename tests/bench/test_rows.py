from __future__ import annotations

import json

import attrs
import pytest

from convcore.bench.job import Answer, Case, Job
from convcore.bench.record import Backend, Parity, Run
from convcore.bench.rows import row_of, untimed, with_speedups
from convcore.bench.sampling import Method, Warmup
from convcore.bench.subject import Subject
from convcore.workers.messages import as_message, from_message
from tests.bench.synthetic import row, run

GOOD = Parity(True, 1e-7, 120.0, 1e-5)
SUBJECT = Subject("encoder", (Case({"batch": 1}, "x.npz"),), weight_bytes=100, onnx_bytes=90)


def job(backend: Backend = "torch", device: str = "cpu") -> Job:
    return Job("folder", "encoder", backend, device, 2, SUBJECT.cases, Method(), "scratch")


def answer(**facts: object) -> Answer:
    known = {"sizes": {"batch": 4}, "run": run([2.0] * 50), "parity": GOOD, **facts}
    return Answer(**known)  # type: ignore[arg-type]


def test_a_timed_answer_becomes_a_row_with_figures_and_file_size() -> None:
    made = row_of(job(), SUBJECT, answer())

    assert (made.status, made.file_bytes, made.warnings) == ("ok", 100, ())
    assert made.summary is not None
    assert (made.summary.p50_ms, made.summary.throughput_per_s) == (2.0, 2000.0)


def test_a_fast_backend_with_wrong_results_is_failed_and_gets_no_speed_up() -> None:
    wrong = answer(parity=Parity(False, 0.25, 8.0, 1e-5), run=None)
    eager = row_of(job(), SUBJECT, answer())
    fast = row_of(job("torch-compile"), SUBJECT, wrong)

    _, judged = with_speedups([eager, fast])

    assert judged.status == "failed"
    assert judged.speedup is None
    assert judged.reason == "parity: differs from torch eager by 0.25, 1e-05 is allowed"


def test_outputs_that_cannot_be_compared_are_failed_by_their_problem() -> None:
    nan = answer(parity=Parity(False, 0.0, None, 1e-5, problem="mu has 3 NaN"), run=None)

    assert row_of(job(), SUBJECT, nan).reason == "parity: mu has 3 NaN"


@pytest.mark.parametrize(
    ("device", "ran", "status"),
    [
        ("cpu", {"CPUExecutionProvider": 9}, "ok"),
        ("cuda:0", {"CUDAExecutionProvider": 8, "CPUExecutionProvider": 1}, "ok"),
        ("cuda:0", {"CPUExecutionProvider": 9}, "failed"),
        ("cpu", {}, "failed"),
    ],
    ids=["cpu", "cuda, mostly", "fell back to the cpu", "unknown"],
)
def test_the_provider_that_ran_is_believed_not_the_one_asked_for(
    device: str, ran: dict[str, int], status: str
) -> None:
    made = row_of(job("onnxruntime", device), SUBJECT, answer(providers=ran))

    assert made.status == status
    assert dict(made.providers) == ran


def test_nodes_that_ran_elsewhere_are_a_warning() -> None:
    mixed = {"CUDAExecutionProvider": 8, "CPUExecutionProvider": 1}

    made = row_of(job("onnxruntime", "cuda:0"), SUBJECT, answer(providers=mixed))

    assert made.warnings == ("1 of 9 nodes ran on CPUExecutionProvider",)


def test_speed_up_is_the_ratio_of_medians_at_the_same_size_and_threads() -> None:
    rows = [
        row([6.0] * 9),
        row([2.0] * 9, backend="onnxruntime"),
        row([2.0] * 9, backend="onnxruntime", threads=1),
        row([2.0] * 9, backend="onnxruntime", batch=8),
    ]

    speedups = [each.speedup for each in with_speedups(rows)]

    assert speedups == [None, 3.0, None, None]


@pytest.mark.parametrize(
    ("timed", "doubts"),
    [
        (run([2.0] * 50, others_busy=0.4), ("busy machine: others used 40% of the processors",)),
        (run([2.0] * 19), ("few calls: 19, of 20 at least",)),
        (run([0.6, 70.0, 0.6] * 20), ("two heaps of calls: 67% near 0.6 ms, 33% near 70",)),
        (run([2.0] * 50), ()),
    ],
    ids=["busy", "few", "two heaps", "none"],
)
def test_what_makes_a_row_unsure_is_said(timed: Run, doubts: tuple[str, ...]) -> None:
    assert row_of(job(), SUBJECT, answer(run=timed)).doubts == doubts


def test_a_warm_up_that_was_cut_is_a_warning() -> None:
    doubtful = attrs.evolve(run([2.0] * 50), warmup=Warmup(9, 3.0, False))

    made = row_of(job(), SUBJECT, answer(run=doubtful))

    assert made.warnings == ("warm-up cut at 3 s before its windows agreed",)
    assert made.doubts == ()


def test_high_variation_and_an_unsure_median_are_said() -> None:
    made = row_of(job(), SUBJECT, answer(run=run([1.0, 3.0] * 10)))

    assert made.warnings == ("high variation: cv 51%, p99 1.5 x p50",)
    assert made.doubts == (
        "two heaps of calls: 50% near 1 ms, 50% near 3",
        "wide interval: the median is known to ±50%",
    )


@pytest.mark.parametrize("side", ["torch", "onnxruntime"])
def test_there_is_no_speed_up_where_either_side_is_unsure(side: str) -> None:
    rows = [row([6.0] * 50), row([2.0] * 50, backend="onnxruntime")]
    rows = [
        attrs.evolve(each, doubts=("busy machine",) if each.backend == side else ())
        for each in rows
    ]

    assert [each.speedup for each in with_speedups(rows)] == [None, None]


def test_rounds_join_and_a_failure_in_one_fails_the_row() -> None:
    first = row_of(job(), SUBJECT, answer())
    second = row_of(job(), SUBJECT, answer(run=run([4.0] * 50)), first)
    third = row_of(job(), SUBJECT, answer(run=None, reason="ended by SIGKILL"), second)

    assert second.summary is not None
    assert (len(second.runs), second.summary.iterations) == (2, 100)
    assert (third.status, third.reason) == ("failed", "ended by SIGKILL")
    assert row_of(job(), SUBJECT, answer(), third) == third


def test_a_contender_that_cannot_start_has_a_row_per_size() -> None:
    cases = (Case({"batch": 1}, "a"), Case({"batch": 8}, "b"))
    subject = attrs.evolve(SUBJECT, cases=cases)

    rows = list(untimed(job(), subject, "skipped", "no CUDA provider"))

    assert [(r.sizes["batch"], r.status, r.reason) for r in rows] == [
        (1, "skipped", "no CUDA provider"),
        (8, "skipped", "no CUDA provider"),
    ]


def test_answers_survive_the_wire() -> None:
    sent = answer(providers={"CPUExecutionProvider": 3})

    for value, kind in ((sent, Answer), (job(), Job)):
        line = json.dumps(as_message(value))

        assert from_message(json.loads(line), kind) == value
