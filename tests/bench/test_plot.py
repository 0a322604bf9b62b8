from __future__ import annotations

import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest

from convcore.bench.plot import write_plot
from convcore.bench.record import Benchmark
from convcore.errors import UsageError
from tests.bench.synthetic import benchmark, row

SVG = "{http://www.w3.org/2000/svg}"


def sweep() -> Benchmark:
    return benchmark(
        *(
            row(
                [scale * batch * (1 + 0.01 * n) for n in range(40)],
                graph=graph, backend=backend, batch=batch,
            )
            for graph in ("encoder", "decoder")
            for backend, scale in (("torch", 0.3), ("torch-compile", 0.2), ("onnxruntime", 0.1))
            for batch in (1, 8, 32)
        )
    )  # fmt: skip


def single() -> Benchmark:
    failed = attrs.evolve(
        row([1.0], backend="torch-compile"), status="failed", reason="<no compiler>", summary=None
    )
    return benchmark(row([1.0, 2.0]), row([0.5], backend="onnxruntime", speedup=3.0), failed)


BENCHMARKS = {"sweep": sweep(), "one batch size": single(), "nothing": benchmark()}


@pytest.fixture(params=BENCHMARKS.values(), ids=BENCHMARKS.keys())
def any_benchmark(request: pytest.FixtureRequest) -> Benchmark:
    return request.param


def test_a_png_is_a_picture_of_a_legible_size(any_benchmark: Benchmark, tmp_path: Path) -> None:
    write_plot(any_benchmark, tmp_path / "latency.png")

    data = (tmp_path / "latency.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 1000
    assert height >= 400
    assert len(data) > 10_000


def test_an_svg_is_well_formed_and_the_same_every_time(
    any_benchmark: Benchmark, tmp_path: Path
) -> None:
    write_plot(any_benchmark, tmp_path / "one.svg")
    write_plot(any_benchmark, tmp_path / "two.svg")

    assert ET.parse(tmp_path / "one.svg").getroot().tag == f"{SVG}svg"
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_every_graph_has_a_panel_with_a_curve_and_a_band_per_backend() -> None:
    import matplotlib.colors as colors

    from convcore.bench.plot import _figure

    figure = _figure(sweep())

    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title("left") for ax in panels] == ["encoder", "decoder"]
    for ax in panels:
        assert len({colors.to_hex(line.get_color()) for line in ax.lines}) == 3
        assert len(ax.collections) == 3
        assert [list(line.get_xdata()) for line in ax.lines] == [[1, 8, 32]] * 3


def test_a_curve_goes_through_the_medians_inside_its_band() -> None:
    from convcore.bench.plot import _figure

    samples = [float(value) for value in range(1, 102)]  # median 51, 5th 6, 95th percentile 96
    figure = _figure(benchmark(row(samples), row(samples, batch=8)))

    (ax,) = figure.axes
    assert list(ax.lines[0].get_ydata()) == [51.0, 51.0]
    edges = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (min(edges), max(edges)) == (6.0, 96.0)


def test_a_page_holds_the_picture_the_tables_and_nothing_foreign(tmp_path: Path) -> None:
    write_plot(single(), tmp_path / "latency.html")

    page = (tmp_path / "latency.html").read_text("utf-8")
    tags, links = _parsed(page)
    assert tags.count("svg") == 1
    assert tags.count("table") == 1
    assert "&lt;no compiler&gt;" in page  # what a row says is text, never markup
    assert not links
    ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])


@pytest.mark.parametrize("name", ["latency.pdf", "latency"], ids=["pdf", "no ending"])
def test_other_endings_are_refused_with_those_there_are(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ending of a picture") as caught:
        write_plot(single(), tmp_path / name)

    assert ".png, .svg, .html" in caught.value.remedy


def test_a_picture_for_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        write_plot(single(), tmp_path / "nowhere/latency.png")


def test_without_matplotlib_the_remedy_is_the_extra_and_nothing_is_timed(tmp_path: Path) -> None:
    blocked = f"""
import sys
sys.modules["matplotlib"] = None
from convcore.cli import run
sys.argv = ["convcore", "bench", "nothing-there", "--plot", {str(tmp_path / "x.png")!r}]
run()
"""
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)

    assert done.returncode == 5
    assert "pip install 'convcore[bench]'" in done.stderr


def _parsed(page: str) -> tuple[list[str], list[str]]:
    tags: list[str] = []
    links: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            links.extend(
                value or ""
                for name, value in attributes
                if name in ("src", "href") and not (value or "").startswith("#")
            )

    Reader().feed(page[: page.index("<svg")] + "<svg>" + page[page.index("</svg>") :])
    return tags, links
