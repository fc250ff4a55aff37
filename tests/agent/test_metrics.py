"""One page of metrics from three sources."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.agent import metrics

APP = """\
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{path="/a b",x="#"} 3 1700000000000
# TYPE latency histogram
latency_bucket{le="+Inf"} 2
latency_sum 0.5
latency_count 2
untyped_one 1
# EOF
"""


def test_sources_that_share_nothing_stand_beside_one_another() -> None:
    merged, left_out = metrics.merge(("# TYPE own gauge\nown 1\n", APP))
    assert left_out == 0
    assert merged == "# TYPE own gauge\nown 1\n" + APP.removesuffix("# EOF\n")


def test_a_name_belongs_to_the_first_that_has_it() -> None:
    ours = "# TYPE latency_count counter\nlatency_count 1\n"
    merged, left_out = metrics.merge((ours, APP))
    assert left_out == 1
    assert merged.count("latency_count") == 2
    assert "latency_bucket" not in merged
    assert "requests_total{" in merged


def test_what_a_source_scattered_is_gathered() -> None:
    merged, _ = metrics.merge(('a{x="1"} 1\nb 2\na{x="2"} 3\n',))
    assert merged == 'a{x="1"} 1\na{x="2"} 3\nb 2\n'


def test_gauges_are_written_as_prometheus_reads_them() -> None:
    text = metrics.gauges({"up": ("gauge", "Is it?", 1.0), "at": ("gauge", "When.", 1.8e9)})
    assert "# HELP up Is it?\n# TYPE up gauge\nup 1\n" in text
    assert "\nat 1800000000\n" in text


def test_a_page_that_is_no_metrics_spoils_nothing() -> None:
    html = "<html>\nbody { margin 0 }\nWelcome home\nfoo 1 2 3\nfoo{ 1\nhalf\n</html>\n"
    assert metrics.merge(("own 1\n", html)) == ("own 1\n", 0)


def test_every_form_of_a_sample_stands() -> None:
    page = 'a{x="} 1",y="\\""} 1.5e-7 -12\nb 1.\nc +Inf\nd NaN\ne -Inf\nf .5\ng\t7\nh{} 1\ni {} 0\n'
    assert metrics.merge((page,)) == (page, 0)


NAMES = st.sampled_from(["a", "b", "a_sum", "a_count", "a_bucket", "c_total"])
PAGES = st.lists(
    st.lists(st.tuples(NAMES, st.sampled_from(["counter", "histogram", "summary"])), max_size=5),
    max_size=3,
)


@given(PAGES)
def test_no_name_has_two_types(pages: list[list[tuple[str, str]]]) -> None:
    texts = ["".join(f"# TYPE {n} {k}\n{n} 1\n" for n, k in page) for page in pages]
    merged, _ = metrics.merge(texts)
    types = [line.split()[2] for line in merged.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


@given(st.text())
def test_nonsense_does_no_harm(text: str) -> None:
    merged, _ = metrics.merge(("own 1\n", text))
    assert merged.startswith("own 1\n")
