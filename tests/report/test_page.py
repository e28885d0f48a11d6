"""The report as a browser reads it: complete in itself, escaped, and true to the numbers."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from made_up_evaluation import CURVES, HOSTILE, make_evaluation

from irkd.errors import IrkdError
from irkd.metrics.catalogue import open_metrics
from irkd.report.evaluation import Failure, ImageScore, Row
from irkd.report.page import render, write_report
from irkd.report.page_pictures import choice_line
from irkd.report.page_tables import averages_table
from irkd.report.plots import score_distribution
from irkd.report.selection import Selection
from irkd.report.sets import SetsEvaluation
from irkd.report.strips import make_strip, strip_budget

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """Collects what the tests ask about and holds the tags' nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: dict[tuple[str, str], str] = {}
        self.text = ""
        self._row = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        if tag == "tr":
            self._row = values.get("data-label") or ""
        if tag == "data":
            self.numbers[self._row, values["data-field"]] = values["value"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += text

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_needs_no_network():
    text = render(make_evaluation(), CURVES)
    page = Page(text)
    images = page.all("img")
    assert len(images) == 2 * 3 * 2  # two photographs, three pictures, whole and crop
    assert all(image["src"].startswith("data:image/webp;base64,") for image in images)
    assert all(image["alt"] for image in images)
    assert page.all("link") == []
    assert all("src" not in script for script in page.all("script"))
    policy = next(meta for meta in page.all("meta") if "content-security" in str(meta).lower())
    assert "default-src 'none'" in policy["content"]
    # The only addresses are names of XML namespaces, which nothing fetches.
    addresses = set(re.findall(r"[a-z]+://[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"url\((?!#)|@import", text)


def test_numbers_are_those_of_the_json():
    evaluation = make_evaluation()
    page = Page(render(evaluation))
    checked = 0
    for row in evaluation.to_dict()["rows"]:
        for (label, name), value in page.numbers.items():
            if label == row["label"]:
                stated = row[name]
                unknown = stated is None or math.isnan(stated)
                assert value == ("" if unknown else repr(stated))
                checked += 1
    # Only the degraded row has two images with a finite difference, of two metrics.
    assert checked == 3 * 7 + 2 * 2
    assert "30.62" in page.text  # PSNR of the student alone
    assert "+0.88" in page.text  # 31.50 - 30.625; the infinite one is left out
    assert "1 of 2 images have an infinite PSNR" in page.text


def test_differences_stand_with_their_intervals():
    def row(label, scores):
        images = [ImageScore(str(i), 9, 9, {"piqe": score}) for i, score in enumerate(scores)]
        return Row(label, "restored", None, tuple(images))

    rows = (
        row("baseline", [30.0, 20.0, 40.0]),
        row("better", [28.0, 17.0, 36.0]),
        row("worse", [31.0, 23.0, 45.0]),
        row("unsure", [31.0, 17.0, 41.0]),
    )
    evaluation = make_evaluation(
        rows=rows, baseline="baseline", metrics=open_metrics(["piqe"]), n=3, strips=()
    )
    text = render(evaluation)
    page = Page(text)
    assert page.numbers["better", "piqe_difference_low"] == "-4.0"
    assert page.numbers["better", "piqe_difference_high"] == "-2.0"
    assert "-4.00 to -2.00" in page.text
    assert ("baseline", "piqe_difference_low") not in page.numbers
    assert "95 %: bootstrap interval of the difference over paired images" in page.text
    # PIQE is better where it is lower; colour only where the interval leaves no doubt.
    kinds = {
        label: re.search(rf'<tr data-label="{label}">.*?</tr>', text).group()
        for label in ("better", "worse", "unsure")
    }
    assert '<td class="better">' in kinds["better"]
    assert '<td class="worse">' in kinds["worse"]
    assert not re.search('class="(better|worse)"', kinds["unsure"])


def test_says_why_each_picture_is_there():
    evaluation = make_evaluation()
    metric = evaluation.metrics[0]
    chosen = Selection.of("student alone", "degraded", metric, count=2, limit=9)
    text = Page(render(make_evaluation(selection=chosen))).text
    assert "All images, by PSNR (dB) of student alone, from the worst to the best." in text
    first = "student alone: PSNR (dB) 30.25, worst of 2; difference to degraded +10.25, best of 2"
    assert first in text
    assert "PSNR (dB) 31.00, best of 2; difference to degraded +9.00, worst of 2" in text
    some = Selection.of("student alone", "degraded", metric, count=500, limit=24)
    text = choice_line(make_evaluation(selection=some, n=500))
    kinds = "the 8 worst, the 8 best and the 8 with the worst difference to degraded"
    assert f"Of 500 images {kinds}, by PSNR (dB) of student alone" in text
    nothing = Page(render(make_evaluation(selection=chosen, strips=()))).text
    assert "student alone has no score to choose them by" in nothing


def test_distribution_of_few_and_of_many_scores():
    """Readable and small: dots for few images, a shape for many, of every row."""
    sizes = {}
    for count in (2, 6, 10_000):
        scores = np.random.default_rng(0).normal(30, 3, (2, count))
        rows = tuple(
            Row(
                label,
                "restored",
                None,
                tuple(
                    ImageScore(str(i), 9, 9, {"psnr_db": x, "ssim": 0.5}) for i, x in enumerate(own)
                ),
            )
            for label, own in zip(("plain", "_of $x$"), scores, strict=True)
        )
        evaluation = make_evaluation(rows=rows, baseline=None, n=count, strips=())
        plot = score_distribution(evaluation, evaluation.metrics[0])
        sizes[count] = len(plot)
        assert "plain" in plot
        assert "_of $x$" in plot
        dots = len(re.findall(r"<use [^>]*fill-opacity", plot)) or plot.count("<use ")
        assert dots >= min(count, 2) * 2
        # All equal: there is no density to draw.
        score_distribution(evaluation, evaluation.metrics[1])
    assert sizes[10_000] < 40_000


def test_several_data_sets_on_one_page():
    small = make_evaluation(data="small")
    large = make_evaluation(data="large", rows=small.rows[:2])
    found = SetsEvaluation({"small": small, HOSTILE: large}, "macro")
    page = Page(render(found, CURVES))
    assert page.text.count("Averages") == 1
    assert "30.62" in page.text
    assert "Average (macro): the unweighted mean" in page.text
    assert [link["href"] for link in page.all("a")] == ["#set-1", "#set-2"]
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert {"set-1", "set-2"} <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))
    assert len(page.all("svg")) == 2 * 4 + 2  # training once
    assert len(page.all("article")) == 4
    assert len(page.all("script")) == 1
    # A row that one set lacks has no average.
    assert page.numbers["student alone", "psnr_db"]
    averages = Page(averages_table(found))
    assert averages.numbers[HOSTILE, "psnr_db"] == ""


@pytest.mark.parametrize("shape", [(300, 400, 3), (720, 1280, 3)])
def test_a_page_of_a_hundred_images_of_noise_stays_below_20_mb(shape):
    rows = ("degraded", "student alone", "distilled student", "teacher", "reference")
    noise = np.random.default_rng(0).integers(0, 256, (len(rows), *shape), np.uint8)
    strip = make_strip("noise", dict(zip(rows, noise, strict=True)), strip_budget(100))
    page = render(make_evaluation(strips=(strip,) * 100, n=100), CURVES)
    assert page.count("<article") == 100
    assert 2e6 < len(page.encode()) < 20e6


def test_everything_a_user_named_is_escaped():
    page = Page(render(make_evaluation(data=HOSTILE, notes=(HOSTILE,)), CURVES))
    assert len(page.all("script")) == 1
    assert page.text.count("alert('x')") >= 5
    assert page.text.count(HOSTILE) >= 5


def test_names_protocol_versions_and_command():
    text = Page(render(make_evaluation())).text
    assert "Protocol: rgb (" in text
    assert "irkd 1.2.3" in text
    assert "irkd evaluate" in text


def test_plots_are_there_when_there_is_something_to_plot():
    evaluation = make_evaluation()
    assert len(Page(render(evaluation, CURVES)).all("svg")) == 6
    assert len(Page(render(evaluation)).all("svg")) == 4
    without = make_evaluation(rows=evaluation.rows[:1], baseline=None, strips=())
    assert len(Page(render(without)).all("svg")) == 2
    images = evaluation.rows[0].images[:1]
    alone = make_evaluation(rows=(Row("a", "restored", None, images),), baseline=None, strips=())
    assert Page(render(alone)).all("svg") == []


def test_plots_take_the_pages_text_colour():
    text = render(make_evaluation(), CURVES)
    svgs = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert svgs
    for svg in svgs:
        assert "currentColor" in svg
        assert not re.search(r"(fill|stroke): ?#(000000|ffffff)", svg)


def test_identifiers_are_unique():
    page = Page(render(make_evaluation(), CURVES))
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) > 10
    assert len(identifiers) == len(set(identifiers))


def test_failures_are_listed():
    failure = Failure("student alone", "third", "no result <here>")
    text = Page(render(make_evaluation(failures=(failure,)))).text
    assert "1 score is missing" in text
    assert "no result <here>" in text


def test_evaluations_without_pictures_or_costs():
    rows = (Row("results", "restored", "x", (ImageScore("a", 9, 9, {"psnr_db": 3.0, "ssim": 1}),)),)
    page = Page(render(make_evaluation(rows=rows, baseline=None, n=1, strips=())))
    assert page.all("img") == []
    assert page.numbers["results", "macs_g"] == ""


def test_written_once_unless_asked(tmp_path):
    path = write_report(tmp_path / "new" / "folder", make_evaluation())
    assert path.read_text("utf-8").startswith("<!doctype html>")
    with pytest.raises(IrkdError, match="exists already"):
        write_report(tmp_path / "new" / "folder", make_evaluation())
    write_report(tmp_path / "new" / "folder", make_evaluation(), overwrite=True)


def test_the_same_evaluation_gives_the_same_page():
    assert render(make_evaluation(), CURVES) == render(make_evaluation(), CURVES)


def test_pictures_smaller_than_a_crop():
    tiny = np.zeros((8, 8, 3), np.uint8)
    strip = make_strip("tiny", {"degraded": tiny, "reference": tiny}, 1000)
    assert len(Page(render(make_evaluation(strips=(strip,)))).all("img")) == 4
