"""The reproduction of the paper's figures runs, and its numbers are what arithmetic says they must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paper.beams import BeamGroup, replay_beams
from paper.figures import PAGES, SAMPLES, Figures, measure
from paper.parents import WIDTHS, load_parents
from paper.published import KV_SLOTS, MAX_MODEL_LEN, PAGE, POLICIES
from paper.replay import make_scheduler, replay_full, replay_samples, step
from paper.reservation import Buddies, fill_reserving, reserved
from paper.tables import report
from paper.workload import ALPACA, SHAREGPT, Workload


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure(6, queue=0.35, say=lambda line: None)


def test_lengths_have_the_papers_means_and_fit_the_model() -> None:
    for workload in (ALPACA, SHAREGPT):
        prompts, answers = workload.lengths(1000)
        assert len(prompts) == len(answers) == 1000
        assert prompts.mean() == pytest.approx(workload.prompt, rel=0.01)
        assert answers.mean() == pytest.approx(workload.answer, rel=0.01)
        assert prompts.min() >= 1
        assert (prompts + answers).max() < MAX_MODEL_LEN
        assert np.array_equal(prompts, workload.lengths(1000)[0])
        assert workload.arrivals(1000, 50).tolist() == pytest.approx(sorted(workload.arrivals(1000, 50)))
        assert np.diff(workload.arrivals(10_000, 50)).mean() == pytest.approx(workload.answer / 50, rel=0.05)


def test_constant_lengths_give_the_saving_that_one_can_work_out() -> None:
    """Prompts of two full pages and a token; answers that grow into a fourth page at their tenth of 20 tokens."""
    constant = Workload("constant", 2 * PAGE + 1, 20, sigma=0.0)
    found = replay_samples(constant, 4, 30)
    # The prompt's step, 15 with three pages each, one where the first sample alone has a fourth, three with four each,
    # and one for the other samples, which are a step behind. Two pages are shared.
    logical = 3 + 15 * 4 * 3 + (4 + 3 * 3) + 3 * 4 * 4 + 3 * 4
    physical = 3 + 15 * (2 + 4) + (2 + 2 + 3) + 3 * (2 + 4 * 2) + (2 + 3 * 2)
    assert found.saving == pytest.approx(1 - physical / logical)


def test_buddies_split_and_join() -> None:
    buddies = Buddies(48)
    pieces = [buddies.allocate(slots) for slots in (16, 9, 5)]
    assert [size for size, _ in pieces if size] == [16, 16, 8]  # type: ignore[misc]
    assert buddies.allocate(17) is None
    for piece in pieces:
        assert piece is not None
        buddies.release(piece)
    assert buddies.allocate(32) == (32, 0)
    assert buddies.allocate(16) == (16, 32)
    assert buddies.allocate(1) is None


def test_policies_reserve() -> None:
    assert [reserved(policy, 10, 25) for policy in POLICIES] == [MAX_MODEL_LEN, 42, 35]
    assert reserved("Pow2", 1500, 600) == MAX_MODEL_LEN
    most = fill_reserving("Max", SHAREGPT, 40)
    assert most.requests <= KV_SLOTS // MAX_MODEL_LEN


def test_parents_are_a_beam_searchs() -> None:
    for width in WIDTHS:
        parents = load_parents(width)
        assert parents.shape[2] == width
        assert parents.max() == width - 1
        assert (parents[:, 0] == 0).all()


def test_beams_share_as_their_parents_say() -> None:
    """Beams that never part share all; beams that part at once share the prompt's full pages."""
    scheduler = make_scheduler()
    together = np.zeros((40, 3), np.uint8)
    apart = np.array([[0, 0, 0]] + [[0, 1, 2]] * 39, np.uint8)
    pages = []
    for parents in (together, apart):
        group = BeamGroup(scheduler, 2 * PAGE, 30, parents)
        while not group.done:
            step(scheduler)
            group.reorder()
            if group.generated == 25:
                pages.append(scheduler.shards[0].allocators[0].num_held)
        assert group.generated == 29
        assert scheduler.shards[0].allocators[0].num_held == 0
        scheduler.check()
    assert pages == [4, 2 + 3 * 2]


def test_figures_are_in_their_right_order(figures: Figures) -> None:
    for found in figures.saving.values():
        assert 0.02 < found[2] < found[4] < found[6] < 1
    for workload in ("Alpaca-like", "ShareGPT-like"):
        most = figures.most[workload]
        assert all(figures.saving["beam", workload][width] < most[width] < 1 - 1 / width for width in WIDTHS)
        beam, parallel = figures.saving["beam", workload], figures.saving["parallel", workload]
        assert all(beam[n] > parallel[n] for n in SAMPLES)
        assert sorted(figures.waste[workload].values()) == [figures.waste[workload][page] for page in PAGES]
        held = [figures.capacity[workload][system] for system in (*POLICIES, "paged")]
        assert sorted(each.requests for each in held) == [each.requests for each in held]
        assert sorted(each.live for each in held) == [each.live for each in held]
        assert held[-1].live > 0.8
    for tokens, prefix in figures.prefix.items():
        assert prefix.reserving < prefix.paged < prefix.shared
        assert prefix.saving > (0.3 if tokens == 80 else 0.5)  # few requests, which are not all there at once


def test_the_page_shows_every_figure(figures: Figures) -> None:
    text = report(figures)
    for found in figures.saving.values():
        assert all(f"{100 * value:.1f} %" in text for value in found.values())
    assert text.count("\n| ---") == 5


def test_the_pictures_are_small(figures: Figures, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    from paper.plots import draw

    paths = draw(figures, tmp_path)
    assert [path.name for path in paths] == ["memory.png", "sharing.png", "pages.png"]
    assert all(1_000 < path.stat().st_size < 150_000 for path in paths)


def test_a_full_pool_is_used_to_the_end() -> None:
    found = replay_full(SHAREGPT, 150)
    assert found.live > 0.9


def test_a_beam_replay_keeps_beams_together() -> None:
    assert 0.2 < replay_beams(ALPACA, 4, 30).saving < 0.8
