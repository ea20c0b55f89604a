"""The page says what the summary says, is one file that asks for nothing, and cannot be written into by a run."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from headwater.report import summarise, to_markdown, write_page
from headwater.report.page import render_page

PRIMARY = "arithmetic-test"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
IMAGE = "data:image/svg+xml;base64,"
HOSTILE = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</pre></div><script src=//evil.example/x.js></script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "` onclick=alert(1) `",
    "<svg><script>alert(1)</script></svg>",
    "<svg/onload=alert(1)>",
    "<math><mtext></mtext><script>alert(1)</script></math>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "<object data='data:text/html,<script>alert(1)</script>'>",
    "<embed src=//evil.example>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<form action=//evil.example><button>x</button></form>",
    "<style>*{background:url(//evil.example)}</style>",
    "</style><style>@import '//evil.example'",
    "x:expression(alert(1))",
    "\\3c script\\3e alert(1)\\3c /script\\3e",
    "url(javascript:alert(1))",
    "{{ 7*7 }}",
    "{% raw %}{{ config }}{% endraw %}",
    "{{ ''.__class__.__mro__ }}",
    "${7*7}",
    "$\\frac{1}{0}$",
    "$unclosed \\begin{x}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;",
    "&",
    "<",
    ">",
    '"',
    "'",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?xml version='1.0'?>",
    "<!DOCTYPE html [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
    "&x;",
    "\u202egpj.exe",
    "\u2066isolate\u2069",
    "\u200f\u200e",
    "\u061cmark",
    "zero\u200bwidth",
    "\ufeffbom",
    "\x00null",
    "\x08backspace",
    "\x1b[2J\x1b[31mred",
    "\x7fdelete",
    "\x85next line",
    "\u2028line\u2029paragraph",
    "lone \ud800 surrogate",
    "\ufffe not a character",
    "\U000e0001tag",
    "\ue000private",
    "a" * 5000,
    "a " * 5000,
    "wide 漢字 العربية עברית",
    "e\u0301" * 50,
    "👩‍👩‍👧‍👦",
    "line\nbreak\r\nand\ttab",
    "--><script>alert(1)</script><!--",
    "<textarea><script>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<details open ontoggle=alert(1)>",
    "<body onload=alert(1)>",
    "<input onfocus=alert(1) autofocus>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<isindex type=image src=1 onerror=alert(1)>",
    "<x onclick=alert(1)>click",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<SCRIPT SRC=HTTP://EVIL.EXAMPLE/X.JS></SCRIPT>",
    "<script\x20type='text/javascript'>alert(1);</script>",
    "<img src='data:image/svg+xml;base64,PHN2Zy8+' onload=alert(1)>",
    "<foreignObject><body onload=alert(1)></foreignObject>",
    "<use href='data:image/svg+xml,<svg id=x/>#x'>",
    "<animate onbegin=alert(1) attributeName=x>",
    "[red]markup[/red]",
    "../../../etc/passwd",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "\\u003cscript\\u003e",
    "+ADw-script+AD4-",
    "¼script¾alert(1)¼/script¾",
    "＜script＞alert(1)＜/script＞",
    "nan",
    "",
]


class Reader(HTMLParser):
    """Collects tags with their attributes, and text by table cell."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Tags and names of attributes: what a text must never change."""
        return [(tag, tuple(sorted(attributes))) for tag, attributes in self.tags]


def figures_of(reader):
    """The SVGs inside the page."""
    for tag, attributes in reader.tags:
        if tag == "img":
            assert attributes["src"].startswith(IMAGE)
            yield base64.b64decode(attributes["src"].removeprefix(IMAGE), validate=True).decode()


def words(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def page(make_lab):
    """A finished run's page."""
    return render_page(summarise(make_lab()))


def test_the_page_has_a_policy_without_scripts_or_network(page):
    reader = Reader(page)
    policies = [a["content"] for t, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]
    assert reader.tags.index(("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY})) < 5
    assert not re.search(r"https?://|//[a-z]", page)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in reader.tags}


def test_the_page_is_well_below_two_megabytes(make_lab):
    page = render_page(summarise(make_lab(seeds=(0, 1, 2, 3))))
    assert len(page.encode()) < 2_000_000


def test_every_number_of_estimate_stands_in_the_page(page, make_lab):
    text = words(Reader(page).text)
    summary = summarise(make_lab())
    assert summary.headline in text
    for arm in summary.arms:
        for score in arm.scores:
            assert str(score.average) in text
    for contrast in summary.contrasts:
        assert contrast.sentence in text
        assert f"± {contrast.difference}".split()[0] in text
        for seed in contrast.difference.per_seed:
            assert str(seed).replace("-", "−").lstrip("+") in text


def test_the_same_folder_gives_the_same_bytes_in_any_process(tmp_path, make_lab):
    write_page(make_lab(), tmp_path / "first.html")
    here = os.path.dirname(__file__)
    code = "import sys; from conftest import finished_lab; from headwater.report import write_page; "
    code += "write_page(finished_lab(), sys.argv[1])"
    path = os.pathsep.join([here, *sys.path])
    environment = os.environ | {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "PYTHONPATH": path, "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "second.html"], env=environment, check=True)
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["first.html", "second.html"]


def rename(folder, texts):
    """Puts a text into every place of a run that can hold one; arm names stay apart from each other."""
    graph, queue = folder.graph, iter(texts * 40)
    names = {}
    for i, entry in enumerate(graph["arms"]):
        names.setdefault(entry["name"], f"{i:02d}{next(queue)}")
        entry["name"] = names[entry["name"]]
        entry["title"] = next(queue)
        if entry["teacher"]:
            entry["teacher"]["name"] = next(queue)
    for contrast in graph["contrasts"]:
        contrast |= {side: names[contrast[side]] for side in ("treatment", "control")}
        contrast |= {field: "." + next(queue) for field in ("name", "question", "declares", "matched")}
    for node in graph["nodes"].values():
        node["title"] = next(queue)
        node["settings"] = {next(queue): next(queue), "nested": [next(queue)]}
    graph["notes"] = [next(queue)]
    graph["name"] = next(queue)
    graph["recipe"] = {next(queue): next(queue), "prompt": next(queue)}
    graph["identity"] = {f"version {i}": next(queue) for i in range(4)}
    for i, benchmark in enumerate(graph["benchmarks"]):
        old, new = benchmark["name"], f"{i}{next(queue)}"
        benchmark |= {"name": new, "digest": next(queue)}
        graph["overlap"]["benchmarks"][i]["benchmark"] = next(queue)
        for entry in graph["arms"]:
            entry["evaluation"] = {new if name == old else name: node for name, node in entry["evaluation"].items()}
    return folder


@pytest.mark.parametrize("start", [0, 37])
def test_no_text_of_a_run_becomes_markup(make_lab, start):
    assert len(HOSTILE) == 100
    texts = HOSTILE[start:] + HOSTILE[:start]
    # Node titles are grouped; equally many distinct harmless texts give the page the same shape.
    harmless = [f"text {HOSTILE.index(text)}" if text else "" for text in texts]
    hostile_page, harmless_page = (
        render_page(summarise(rename(make_lab(seeds=(0,), more={"small": 12}), kind))) for kind in (texts, harmless)
    )
    reader = Reader(hostile_page)
    assert reader.shape == Reader(harmless_page).shape
    for tag, attributes in reader.tags:
        assert tag not in {"script", "iframe", "object", "embed", "link", "base", "form", "svg", "math", "template"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in {"style", "srcdoc", "action", "formaction", "background", "data"}
            if name in {"href", "src"}:
                assert value.startswith(("#", IMAGE))
    hostile_page.encode()
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff\x00-\x08\x0b-\x1f\x7f]", hostile_page)
    for svg in figures_of(reader):
        check_figure(svg)


def check_figure(svg):
    """A figure is well formed, draws, and refers to itself alone."""
    for element in ElementTree.fromstring(svg).iter():
        assert element.tag.rpartition("}")[2] in {
            *("svg", "g", "defs", "style", "path", "use", "text", "tspan", "clipPath", "rect"),
        }
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name.endswith("href"):
                assert value.startswith("#")


def test_figures_are_well_formed_and_stand_alone(page):
    figures = list(figures_of(Reader(page)))
    assert len(figures) > 10
    for svg in figures:
        check_figure(svg)
        assert svg.startswith("<svg")


def test_what_has_not_run_is_shown_as_not_run(lab):
    gone = [arm for arm in lab.graph["arms"] if arm["name"] == "R7" or (arm["name"], arm["seed"]) == ("R2", 1)]
    lab.finished -= {arm["evaluation"][PRIMARY] for arm in gone}
    lab.graph["contrasts"][0]["control"] = "R42"
    text = words(Reader(render_page(summarise(lab))).text)
    assert "R7 replay of the teacher's half not run yet" in text
    assert "2 of 3 seeds" in text
    assert "no arm named R42 in this run" in text
    assert "No verdict yet: 32 of 36 evaluations are done." in text


@pytest.mark.parametrize("kept", [0, 40])
def test_an_unfinished_run_has_a_page(lab, kept):
    lab.finished = set(sorted(lab.finished)[:kept])
    page = render_page(summarise(lab))
    assert "No verdict yet" in page or "So far, on" in page
    assert not re.search(r"\b(nan|none|inf)\b", re.sub(r'src="[^"]*"', "", page).split("<body>")[1])


def test_no_number_is_printed_as_nan(lab):
    for (node, name), raw in list(lab.files.items()):
        told = json.loads(raw) if name == "scores.json" else None
        if told:
            lab.put(node, name, told | {"entropy": float("nan"), "response_tokens": None, "truncated": float("inf")})
        if name == "metrics.jsonl":
            lab.files[node, name] = raw.replace(b'"loss": 1', b'"loss": NaN, "x": 1')
    page = render_page(summarise(lab))
    assert not re.search(r"\b(nan|inf|infinity)\b", re.sub(r'src="[^"]*"', "", page), re.IGNORECASE)
    assert "not finite" in page
    for svg in figures_of(Reader(page)):
        assert "nan" not in svg.lower()


def test_notes_stand_before_everything_else(lab):
    lab.graph["notes"] = ["17 problems of 2H also occur in the benchmark; kept by --allow-overlap"]
    page = render_page(summarise(lab))
    note = page.index(html.escape(lab.graph["notes"][0]))
    assert page.index('class="note"') < note < page.index("first planned comparison".capitalize()[:5])


def test_another_harness_stands_beside_the_score_of_each_benchmark(make_lab):
    lab = make_lab(seeds=(0,), more={"aime-24": 30})
    (entry,) = (arm for arm in lab.graph["arms"] if arm["name"] == "R3-full")
    said = {"mean": 0.875, "standard_error": 0.0625, "version": "<0.4>"}
    lab.harness = {entry["evaluation"]["aime-24"]: said}
    summary = summarise(lab)
    page, markdown = render_page(summary), to_markdown(summary)
    assert page.count("<small>lm-eval 87.5 ± 6.2</small>") == 1
    assert markdown.count("[lm-eval 87.5 ± 6.2]") == 1
    assert "lm-eval %" not in page + markdown  # a column is of the primary benchmark
    lab.harness = {entry["evaluation"][PRIMARY]: said}
    assert render_page(summarise(lab)).count("87.5 ± 6.2<") == 2  # of every arm, and of every benchmark


def test_every_benchmark_and_the_overlap_stand_in_the_page(make_lab):
    summary = summarise(make_lab(seeds=(0, 1), more={"aime": 30}))
    text = words(Reader(render_page(summary)).text)
    assert "arithmetic-test (primary): 32 problems" in text
    assert "aime: 30 problems" in text
    assert "On aime (30 problems)" in text
    for row in summary.contrasts_on("aime"):
        assert row.sentence in text
    for arm in summary.arms:
        assert all(str(score.average) in text for score in arm.others[0].scores)
    assert "3 of 259 labelled problems were taken out" in text


def test_a_raw_teacher_is_explained(page):
    assert "a raw teacher can be close to the student and still be a poor source" in words(Reader(page).text)
