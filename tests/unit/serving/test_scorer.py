"""Factorised scoring against the plain network on dense features, and what a ranking promises."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pprm.catalogue.catalogue import Catalogue, Product
from pprm.catalogue.popularity import Popularity, Purchase
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.ranking.candidate_features import COLUMNS, NAMES, RETRIEVAL_INPUT
from pprm.ranking.network import HIDDEN, MEMBERS, RankingNetwork
from pprm.ranking.ranker import ROWS, Ranker
from pprm.retrieval import blocks, features, first_layer
from pprm.retrieval.candidates import NEW, SEEN, choose, popular_from
from pprm.retrieval.model import PPRM, PPRMConfig
from pprm.retrieval.retriever import sequences
from pprm.serving import reasons as reasoning
from pprm.serving import rules
from pprm.serving.scorer import Scorer
from pprm.state.fold import fold
from pprm.state.user_state import UserState

NOW = 1_510_000_000
DIM = 16


CONFIG = PPRMConfig(text_dimensions=DIM, projected=8, product=8, hidden=(12,))
DEEP = replace(CONFIG, hidden=(12, 6))
PAPER = replace(PPRMConfig.paper(), text_dimensions=DIM)


def product(i: int, **changes: object) -> Product:
    values = {
        "text": f"text {i % 7}",
        "type": f"t{i % 11}",
        "category": f"c{i % 5}",
        "maker": f"m{i % 3}",
    }
    return Product(f"p{i}", **(values | changes))  # type: ignore[arg-type]


def vectors(texts: object) -> np.ndarray:
    return np.stack(
        [np.random.default_rng(len(str(t))).normal(size=DIM).astype(np.float32) for t in texts]
    )  # type: ignore[attr-defined]


def make(
    n: int = 60,
    config: PPRMConfig | None = None,
    device: str = "cpu",
    network: RankingNetwork | None = None,
) -> Scorer:
    torch.manual_seed(0)
    model = PPRM(config or CONFIG)
    if model.config.sequence:
        model.text_axes.copy_(torch.randn(DIM, 8))
        model.cross_mean.copy_(torch.randn(40) * 0.1)
        model.cross_scale.copy_(torch.rand(40) + 0.5)
    catalogue = Catalogue(DIM)
    products = [product(i, available=i % 10 != 9) for i in range(n)]
    described = np.random.default_rng(1).normal(size=(n, DIM)).astype(np.float32)
    if n > 1_000:  # a large shop has many alike: those of a pair are
        described = described[np.arange(n) % 55] + described * np.float32(0.05)
    catalogue.put(products, described)
    popularity = Popularity()
    popularity.add(Purchase(stable_hash(f"p{i % n}"), NOW - i * 5000) for i in range(300))
    return Scorer(model, catalogue, popularity, vectors, torch.device(device), network)


def shopper(seed: int, n: int = 40) -> UserState:
    rng = np.random.default_rng(seed)
    events = [
        Interaction(
            Position(0, 0, i),
            Kind.PURCHASE,
            stable_hash(f"p{rng.integers(70)}"),
            NOW - (n - i) // 4 * 90_000,
            i // 4 + 1,
        )
        for i in range(n)
    ]
    return fold(UserState(), events).state


def dense_logits(scorer: Scorer, state: UserState, now: float) -> torch.Tensor:
    """The network as published: everything concatenated, nothing factorised."""
    model, catalogue, rows = scorer.model, scorer.catalogue, scorer.candidates
    with torch.inference_mode():
        z = model.product_vectors(torch.from_numpy(catalogue.vectors.copy()))
        text = torch.from_numpy(vectors([state.text.decode()]))
        first = model.product_layer(z[rows])[None]
        if not model.config.sequence:
            return model.head(model.user_part(text, text, None)[:, None] + first)[0]
        scorer.popularity.advance(now)
        r, a, w = (torch.from_numpy(x) for x in sequences([state], [now], catalogue))
        pooled = model.pool(z[r], a, w)
        matches = torch.einsum("bkd,cd->bck", model.queries(pooled), z[rows])
        cross = features.dense(
            features.groups(state, catalogue, now),
            catalogue,
            rows,
            scorer.popularity.features(catalogue.hashes[rows]),
        )
        user = model.user_part(text, torch.from_numpy(features.scalars(state, now))[None], pooled)
        return model.head(
            user[:, None] + first + model.cross_part(torch.from_numpy(cross)[None], matches)
        )[0]


@pytest.mark.parametrize("events", [0, 1, 5, 40])
@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        DEEP,
        replace(CONFIG, product=6, hidden=(9,)),
        replace(CONFIG, pool_days=(4.0, 30.0)),
        PAPER,
    ],
)
def test_factorised_equals_dense(events: int, config: PPRMConfig) -> None:
    scorer, state = make(config=config), shopper(events, events)
    assert torch.allclose(
        scorer.score([state], [NOW + 86_400])[0],
        dense_logits(scorer, state, NOW + 86_400),
        atol=2e-5,
    )


@pytest.mark.parametrize("config", [CONFIG, DEEP])
def test_a_score_does_not_depend_on_batch_mates_nor_on_their_day(config: PPRMConfig) -> None:
    states, nows = (
        [shopper(i, 10 * i) for i in range(5)],
        [NOW + 5 * 86_400, NOW, NOW, NOW + 86_400, NOW],
    )
    together, one_by_one = make(config=config).score(states, nows), make(config=config)
    for i in np.argsort(nows, kind="stable"):
        assert torch.allclose(together[i], one_by_one.score([states[i]], [nows[i]])[0], atol=1e-6)


def test_unavailable_products_are_never_ranked_and_new_ones_are() -> None:
    scorer, state = make(), shopper(3)
    k = len(scorer.catalogue)
    ids = {scorer.catalogue.ids[row] for row in scorer.recommend([state], [NOW], k)[0].rows}
    assert ids == {f"p{i}" for i in range(60) if i % 10 != 9}
    scorer.catalogue.put([product(99)], vectors(["new"]))
    scorer.catalogue.withdraw(["p0"])
    ids = {scorer.catalogue.ids[row] for row in scorer.recommend([state], [NOW], k)[0].rows}
    assert "p99" in ids and "p0" not in ids


def test_equal_scores_rank_the_same_in_whatever_order_products_came() -> None:
    scorer = make()
    for parameter in scorer.model.parameters():
        parameter.data.zero_()
    reversed_ = Catalogue(DIM)
    products = [product(i, available=i % 10 != 9) for i in reversed(range(60))]
    reversed_.put(products, np.zeros((60, DIM), np.float32))
    rankings = []
    for catalogue in (scorer.catalogue, reversed_):
        tied = Scorer(scorer.model, catalogue, scorer.popularity, vectors, scorer.device)
        rankings.append(
            [catalogue.ids[row] for row in tied.recommend([shopper(1)], [NOW], 10)[0].rows]
        )
    assert rankings[0] == rankings[1]


def test_a_restarted_worker_scores_as_before() -> None:
    before, states = make(), [shopper(i, 20 + i) for i in range(5)]
    for scorer in (before, after := make()):
        scorer.popularity.own(0)
    for state in states:
        after.popularity.add_state(state)
    scores = after.score([states[0]], [NOW + 86_400])
    assert torch.isfinite(scores).all()
    assert len(after.recommend([states[0]], [NOW + 86_400], 10)[0].rows) == 10


def test_reasons_are_true() -> None:
    scorer, state = make(), shopper(3)
    ranking = scorer.recommend([state], [NOW], 40)[0]
    bought = set(state.product_keys().tolist())
    for row, why in zip(ranking.rows, ranking.reasons, strict=True):
        assert ("bought_before" in why) == (int(scorer.catalogue.hashes[row]) in bought)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu() -> None:
    states, nows = [shopper(i, 10 * i) for i in range(8)], [NOW] * 8
    cpu, gpu = make().score(states, nows), make(device="cuda").score(states, nows)
    assert torch.allclose(cpu, gpu.cpu(), atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("way", ["retrieval", "ranking", "by blocks", "device"])
def test_a_product_whose_scores_are_not_finite_costs_no_other_its_place(
    way: str, bad: float
) -> None:
    scorer = make(
        config=DEEP if way == "device" else None,
        network=None if way == "retrieval" else ranking_network(),
    )
    scorer.retriever.large = 0 if way == "by blocks" else scorer.retriever.large
    poison = scorer.catalogue.rows(shopper(3).product_keys()[:1])[0]  # the shopper bought it, too
    changed = scorer.catalogue.vectors.copy()
    changed[poison] = bad
    others = [i for i in range(60) if i % 10 != 9 and i != poison]
    scorer.catalogue.put([product(int(poison))], changed[[poison]])
    (listed,) = scorer.recommend([shopper(3)], [NOW], 60)
    assert {*others} <= {*listed.rows.tolist()} and np.isfinite(listed.scores).all()
    assert scorer.not_finite > 0


def test_a_score_of_ranking_that_is_not_finite_costs_its_product_the_place() -> None:
    scorer, state = with_ranking(), shopper(3)
    (before,) = scorer.recommend([state], [NOW], 10)
    assert scorer._ranker and not scorer.not_finite
    logits = scorer._ranker.logits
    rows = scorer.candidates_of(state, NOW).candidates.rows.tolist()
    first = rows.index(before.rows[0])

    def broken(inputs: Any) -> Any:
        (mine,) = logits(inputs)
        mine[first] = np.nan
        return [mine]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scorer._ranker, "logits", broken)
        (after,) = scorer.recommend([state], [NOW], 10)
    assert after.rows[:9].tolist() == before.rows[1:].tolist() and scorer.not_finite == 1


def ranking_network() -> RankingNetwork:
    torch.manual_seed(3)
    network = RankingNetwork().eval()
    network.mean.copy_(torch.rand(len(NAMES)))
    network.scale.copy_(torch.rand(len(NAMES)) + 0.5)
    network.scale[-3:] = torch.inf
    return network


def with_ranking(n: int = 400, **how: Any) -> Scorer:
    return make(n, network=ranking_network(), **how)


@pytest.mark.parametrize("rows", [0, 1, 5, ROWS, 2 * ROWS + 7])
@pytest.mark.parametrize("same", [0, 61, len(NAMES)])
def test_the_compiled_networks_are_those_of_torch(rows: int, same: int) -> None:
    network, x = (
        ranking_network(),
        np.random.default_rng(0).normal(size=(rows, len(NAMES))).astype(np.float32),
    )
    x[:, :same] = x[:1, :same]
    x[:, 50] *= 100  # clipped
    (logits,) = Ranker(network).logits([x])
    with torch.inference_mode():
        assert np.allclose(logits, network(torch.from_numpy(x)).numpy(), atol=1e-5)


def test_the_networks_of_a_call_leave_nothing_for_the_next_one() -> None:
    made, x = (
        Ranker(ranking_network()),
        np.random.default_rng(0).normal(size=(40, len(NAMES))).astype(np.float32),
    )
    first, _, again = made.logits([x[:7], x, x[:7]])
    assert np.array_equal(first, again)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_seen_in_the_logits(bad: float) -> None:
    for name in ("first", "second", "output"):
        network = ranking_network()
        getattr(
            network.first if name == "first" else network, "weight" if name == "first" else name
        ).data.fill_(bad)
        (logits,) = Ranker(network).logits(
            [np.random.default_rng(0).random((5, len(NAMES))).astype(np.float32)]
        )
        assert not np.isfinite(logits).any()


def test_lifts_are_what_the_network_says_less_without_a_group() -> None:
    network, rng = ranking_network(), np.random.default_rng(0)
    x, at = rng.normal(size=(6, len(NAMES))).astype(np.float32), np.array([0, 3, 3, 5])
    columns = rng.random((4, len(NAMES))) < 0.2
    without = torch.from_numpy(np.where(columns, network.mean.numpy(), x[at]))
    with torch.inference_mode():
        expected = network(torch.from_numpy(x[at])) - network(without)
    assert np.allclose(Ranker(network).lifts(x, at, columns), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_candidates_are_the_best_of_both_kinds_equal_ones_by_column(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 40 if seed % 2 else 100_000, 3_000).astype(np.float32)
    seen = rng.random(3_000) < 0.4
    order = np.lexsort((np.arange(3_000), -logits))
    best = [order[~seen[order]][:NEW], order[seen[order]][:SEEN]]
    assert choose(logits, seen, np.zeros(0, np.int64)).tolist() == sorted(
        np.concatenate(best).tolist()
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_list_is_what_ranking_puts_highest_of_the_candidates(seed: int) -> None:
    scorer, state = with_ranking(), shopper(seed)
    found = scorer.candidates_of(state, NOW)
    first = scorer.score([state], [NOW])[0].numpy()
    assert np.array_equal(found.candidates.logits, first[found.columns])
    new = np.sort(first[np.setdiff1d(np.arange(len(first)), found.columns[found.seen])])[::-1]
    # the best of what is new
    assert np.isclose(found.candidates.logits[~found.seen].min(), new[NEW - 1])
    inputs = scorer.candidate_features(state, NOW, found.candidates)
    network = scorer.ranking_network
    assert network
    start = np.clip((inputs - network.mean.numpy()) / network.scale.numpy(), -4, 4)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    outputs = []
    for member in range(MEMBERS):
        mine = slice(member * HIDDEN[0], (member + 1) * HIDDEN[0])
        x = np.maximum(start @ weights["first.weight"][mine].T + weights["first.bias"][mine], 0)
        x = np.maximum(x @ weights["second"][member] + weights["second_bias"][member], 0)
        outputs.append(x @ weights["output"][member] + weights["output_bias"][member])
    x = np.mean(outputs, axis=0)
    order = np.argsort(-x[:, 0], kind="stable")[:10]
    (listed,) = scorer.recommend([state], [NOW], 10)
    assert listed.rows.tolist() == found.candidates.rows[order].tolist()
    assert np.allclose(listed.scores, 1 / (1 + np.exp(-x[order, 0])), atol=1e-5)
    ranked = scorer.rank_scores(state, NOW)
    assert (
        scorer.candidates[np.argsort(-ranked, kind="stable")[:10]].tolist() == listed.rows.tolist()
    )
    assert (ranked[found.columns].min() > np.delete(ranked, found.columns)).all()


def test_lists_of_a_batch_are_those_of_each_alone() -> None:
    scorer, states = with_ranking(), [shopper(seed) for seed in range(4)]
    nows = [NOW + 86_400 * (i % 2) for i in range(4)]
    together = scorer.recommend(states, nows, 5)
    fresh = with_ranking()
    for i in np.argsort(nows, kind="stable"):
        (alone,) = fresh.recommend([states[i]], [nows[i]], 5)
        assert (
            alone.rows.tolist() == together[i].rows.tolist()
            and alone.reasons == together[i].reasons
        )


def test_reasons_are_the_true_ones_that_lifted_a_product_most_and_tell_most() -> None:
    network, x = (
        ranking_network(),
        np.random.default_rng(4).normal(size=(60, len(NAMES))).astype(np.float32),
    )
    true = reasoning.facts(x, 1.0)
    rare = reasoning.rarity(true)
    said = reasoning.why(Ranker(network), x, true * rare)
    for row, holds, reasons in zip(x, true, said, strict=True):
        worth = {}
        for number in np.flatnonzero(holds):
            name = reasoning.REASONS[number]
            mine = np.array([feature.startswith(reasoning._SAYS[name]) for feature in NAMES])
            without = np.where(mine, network.mean.numpy(), row)
            with torch.inference_mode():
                logits = network(torch.from_numpy(np.stack([row, without])))
            worth[name] = float(logits[0] - logits[1]) * float(-np.log(true[:, number].sum() / 61))
        assert reasons == sorted(worth, key=lambda name: -worth[name])[:2]


def test_what_is_true_of_all_candidates_tells_least_and_popular_are_few() -> None:
    x = np.zeros((200, len(NAMES)), np.float32)
    x[:, COLUMNS[RETRIEVAL_INPUT.name].start + features.GLOBAL.start] = np.arange(200) / 200
    x[:, COLUMNS[RETRIEVAL_INPUT.name].start + features.CATEGORY.stop - 1] = 1
    x[:3, COLUMNS[RETRIEVAL_INPUT.name].start + features.ITEM.index("seen")] = 1
    week = x[:, reasoning._WEEK]
    true = reasoning.facts(x, popular_from(week))
    fields = dict(zip(reasoning.REASONS, reasoning.rarity(true), strict=True))
    assert fields["bought_before"] > fields["popular"] > fields["buys_category"] > 0
    assert np.flatnonzero(true[:, reasoning.REASONS.index("popular")]).tolist() == list(
        range(190, 200)
    )
    nobody = reasoning.facts(np.zeros((200, len(NAMES)), np.float32), popular_from(0 * week))
    assert not nobody[:, reasoning.REASONS.index("popular")].any(), (
        "what nobody bought is not popular"
    )


def test_without_ranking_only_the_twentieth_that_sold_most_is_popular() -> None:
    scorer = make(200)
    (ranked,) = scorer.recommend([UserState()], [NOW], 200)
    week = scorer.popularity.features(scorer.catalogue.hashes[ranked.rows])[:, 0]
    said = np.array(["popular" in reasons for reasons in ranked.reasons])
    assert 0 < said.sum() <= 30 and week[said].min() > week[~said].max()


def test_what_was_looked_at_is_a_candidate_and_reasons_are_true() -> None:
    scorer, state = with_ranking(), shopper(5)
    worst = int(np.argmin(scorer.score([state], [NOW])[0].numpy()))
    look = Interaction(
        Position(1, 0, 0), Kind.VIEW, int(scorer.catalogue.hashes[scorer.candidates[worst]]), NOW
    )
    state = fold(state, [look]).state
    assert worst in scorer.candidates_of(state, NOW).columns
    bought, looked = set(state.product_keys().tolist()), look.product
    (listed,) = scorer.recommend([state], [NOW], 100)
    for row, reasons in zip(listed.rows.tolist(), listed.reasons, strict=True):
        product = int(scorer.catalogue.hashes[row])
        assert len(reasons) <= 2
        assert "bought_before" not in reasons or product in bought
        assert "looked_at" not in reasons or product == looked
        assert "promoted" not in reasons


def by_blocks(n: int, near: float = 1.0) -> Scorer:
    """A scorer that looks through blocks of products, however small the catalogue."""
    scorer = with_ranking(n)
    scorer.retriever.large = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "NEAR", np.float32(near))
        scorer.candidates_of(UserState(), NOW)
    return scorer


@pytest.mark.parametrize("events", [0, 1, 40, 200])
def test_blocks_give_the_candidates_that_scoring_all_gives(events: int) -> None:
    whole, pruned, state = with_ranking(3_000), by_blocks(3_000), shopper(events, events)
    a, b = whole.candidates_of(state, NOW), pruned.candidates_of(state, NOW)
    assert np.array_equal(a.columns, b.columns) and np.array_equal(a.seen, b.seen)
    assert np.allclose(a.candidates.logits, b.candidates.logits, atol=1e-5)


def test_blocks_that_are_taken_to_be_narrower_than_they_are_hardly_change_a_list() -> None:
    whole, pruned = with_ranking(3_000), by_blocks(3_000, float(blocks.NEAR))
    states = [shopper(seed, 5 * seed) for seed in range(40)]
    rankings = zip(
        *(scorer.recommend(states, [NOW] * 40, 10) for scorer in (whole, pruned)), strict=True
    )
    assert np.mean([a.rows.tolist() == b.rows.tolist() for a, b in rankings]) >= 0.95


def test_bounds_hold_for_each_product_and_few_blocks_are_looked_through() -> None:
    scorer, state = by_blocks(3_000), shopper(7)
    first, made = scorer.retriever, scorer.retriever._blocks
    assert made is not None
    with torch.inference_mode():
        ((_, (groups,), user, queries),) = first._days([state], [NOW])
        assert queries is not None
        one = first._shopper(groups, user[0], queries[0])
        bound = first_layer.bounds(
            one,
            p := first._products,
            first._weights,
            made,
            first_layer.dot_products(one.queries, made.centres),
        )
    logits = scorer.score([state], [NOW])[0].numpy()
    new = np.setdiff1d(p.columns, first.columns(groups.rows))
    block = np.empty(len(p.columns), np.int64)
    block[p.columns] = np.repeat(np.arange(len(made.pair)), np.diff(made.starts))
    assert (logits[new] <= bound[block[new]]).all()
    assert np.mean(bound < np.sort(logits[new])[-NEW]) > 0.5


def test_what_was_bought_or_looked_at_is_a_candidate_by_blocks_unless_it_is_excluded() -> None:
    scorer, state = by_blocks(3_000), shopper(5)
    worst = np.argsort(scorer.score([state], [NOW])[0].numpy())[:2]
    for offset, column in enumerate(worst.tolist()):
        look = Interaction(
            Position(1, 0, offset),
            Kind.VIEW,
            int(scorer.catalogue.hashes[scorer.candidates[column]]),
            NOW,
        )
        state = fold(state, [look]).state
    bought = scorer.retriever.columns(scorer.catalogue.rows(state.product_keys()))
    found = scorer.candidates_of(state, NOW)
    assert np.isin(np.concatenate([worst, bought]), found.columns).all()
    assert np.array_equal(np.sort(bought), found.columns[found.seen])
    excluded = np.array([-1, scorer.candidates[worst[0]], scorer.candidates[bought[0]]])
    ((_, without),) = scorer.retriever.retrieve([state], [NOW], [excluded])
    assert {*found.columns.tolist()} - {*without.columns.tolist()} == {
        int(worst[0]),
        int(bought[0]),
    }


def test_equal_scores_come_in_the_order_of_columns_by_blocks_too() -> None:
    scorer = by_blocks(3_000)
    for parameter in scorer.model.parameters():
        parameter.data.zero_()
    flat = Scorer(
        scorer.model,
        scorer.catalogue,
        scorer.popularity,
        vectors,
        scorer.device,
        scorer.ranking_network,
    )
    flat.retriever.large = 0
    found = flat.candidates_of(UserState(), NOW)
    assert found.columns.tolist() == list(range(NEW))


@pytest.mark.parametrize(
    "scorer",
    [make(200), by_blocks(200), with_ranking(200)],
    ids=["retrieval", "by blocks", "ranking"],
)
@pytest.mark.parametrize("kind", [Kind.HIDE, Kind.DISLIKE])
def test_what_a_shopper_hides_is_in_no_list_of_theirs_again(scorer: Scorer, kind: Kind) -> None:
    """Not the best of what they bought, nor of what is new to them.

    Though they look at it and buy it again.
    """
    state = shopper(4)
    (before,) = scorer.recommend([state], [NOW], 20)
    unwanted = scorer.catalogue.hashes[before.rows[:5]].tolist()
    said = [
        Interaction(Position(1, 0, 10**6 + i), kind, product, NOW)
        for i, product in enumerate(unwanted)
    ]
    said += [
        Interaction(Position(1, 0, 10**7 + i), Kind.VIEW, product, NOW)
        for i, product in enumerate(unwanted)
    ]
    said += [
        Interaction(Position(0, 0, 10**7 + i), Kind.PURCHASE, product, NOW)
        for i, product in enumerate(unwanted)
    ]
    state = fold(state, said).state
    (after,) = scorer.recommend([state], [NOW], 20)
    assert len(after.rows) == 20 and not {*scorer.catalogue.hashes[after.rows].tolist()} & {
        *unwanted
    }
    scores = scorer.rank_scores(state, NOW)
    assert np.isneginf(
        scores[scorer.retriever.columns(scorer.catalogue.rows(np.array(unwanted, np.uint64)))]
    ).all()


@pytest.mark.parametrize(
    "scorer",
    [make(200), by_blocks(200), with_ranking(200)],
    ids=["retrieval", "by blocks", "ranking"],
)
def test_rules_leave_out_what_was_just_bought_and_limit_a_type(scorer: Scorer) -> None:
    state = shopper(4)
    keys, last = state.product_keys(), state.product_counters()["last"]
    days = float(np.median(NOW - last.astype(float))) / 86_400
    lately = set(keys[last > NOW - days * 86_400].tolist())
    assert lately and len(lately) < len(keys)
    (listed,) = scorer.recommend([state], [NOW], 100, rules.of(exclude_bought_days=days))
    hashes = set(scorer.catalogue.hashes[listed.rows].tolist())
    assert not hashes & lately and hashes & (set(keys.tolist()) - lately)
    (varied,) = scorer.recommend([state], [NOW], 10, rules.of(most_of_a_type=1))
    types = scorer.catalogue.type[varied.rows].tolist()
    assert len(types) == len(set(types)) == 10
