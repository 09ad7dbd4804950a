"""The queue of embeddings: first in, first out, in turns, and a resumed one goes on."""

from __future__ import annotations

import torch

from stages.pretrain.core.queue import Queue


def rows(*values: float) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(1)


def test_the_oldest_rows_are_replaced_first_and_only_when_the_step_is_done() -> None:
    queue = Queue(4, 1)
    first = queue.kept.clone()
    queue.hold(rows(1, 2))
    queue.hold(rows(3))
    assert torch.equal(queue.kept, first)
    queue.turn()
    assert queue.kept[:3, 0].tolist() == [1, 2, 3] and queue.kept[3] == first[3]
    queue.hold(rows(4, 5))
    queue.turn()
    assert queue.kept[:, 0].tolist() == [5, 2, 3, 4]
    queue.turn()  # nothing new
    assert queue.kept[:, 0].tolist() == [5, 2, 3, 4] and int(queue.place) == 1


def test_of_more_rows_than_fit_the_latest_stay_and_the_next_ones_replace_the_oldest_of_them() -> None:
    queue = Queue(3, 1)
    queue.hold(rows(*range(8)))
    queue.turn()
    assert sorted(queue.kept[:, 0].tolist()) == [5, 6, 7]
    queue.hold(rows(8))
    queue.turn()
    assert sorted(queue.kept[:, 0].tolist()) == [6, 7, 8]


def test_it_starts_with_unit_vectors_and_a_resumed_one_goes_on_where_it_was() -> None:
    queue = Queue(5, 3)
    torch.testing.assert_close(queue.kept.norm(dim=1), torch.ones(5))
    queue.hold(torch.ones(2, 3))
    queue.turn()
    other = Queue(5, 3)
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.hold(torch.full((4, 3), 2.0))
        one.turn()
    assert torch.equal(queue.kept, other.kept) and int(other.place) == 1
