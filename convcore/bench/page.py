"""A benchmark as one web page: the picture, the tables, the method; nothing is loaded."""

from __future__ import annotations

from convcore.bench.columns import table_of
from convcore.bench.machine import described
from convcore.bench.record import Benchmark, graphs_of

_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; max-width: 76rem; margin: 2rem auto;
       padding: 0 1rem; }
svg { max-width: 100%; height: auto; }
h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .82rem; }
.wide { overflow-x: auto; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e8eaed;
         white-space: nowrap; }
th { color: #5f6368; font-weight: 600; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
.failed td { color: #c5221f; }
ul, p { color: #5f6368; font-size: .85rem; }
</style>
</head>
<body>
{{ picture }}
{% for graph in graphs %}
<h2>{{ graph.title }}</h2>
<div class="wide"><table>
<tr>{% for heading in graph.headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in graph.cells -%}
<tr{% if row[-1] == "FAILED" %} class="failed"{% endif %}>
{%- for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor -%}
</table></div>
{% if graph.notes %}<ul>{% for note in graph.notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}{% endfor %}
<p>{{ machine }}<br>{{ versions }}<br>{{ method }}</p>
{% if notes %}<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
</body>
</html>
"""


def as_page(benchmark: Benchmark, svg: str) -> str:
    """Return the page, with ``svg`` inside it."""
    import jinja2
    from markupsafe import Markup

    rules = benchmark.method
    return (
        jinja2.Environment(autoescape=True)
        .from_string(_TEMPLATE)
        .render(
            title=f"Inference latency of {benchmark.subject.get('name')}",
            picture=Markup(svg[svg.index("<svg") :]),  # drawn by us; without the prolog
            graphs=[table_of(*graph) for graph in graphs_of(benchmark.rows).items()],
            machine=described(benchmark.machine),
            versions=", ".join(f"{name} {number}" for name, number in benchmark.versions.items()),
            method=(
                f"Each contender in {benchmark.options.get('rounds', 1)} processes of its own; "
                f"at least {rules.min_iterations} calls and {rules.min_seconds:g} s, until the "
                f"median is sure to ±{rules.interval:.1%} (95 %), at most {rules.max_seconds:g} s; "
                f"warm-up until {rules.windows} windows agree within {rules.agreement:.0%}."
            ),
            notes=benchmark.notes,
        )
    )
