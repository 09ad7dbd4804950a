"""Heads on games of Othello: boards, probes and edits against loops over single boards, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.common import atomic, othello, tasks
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import EncoderCard
from stages.encoders.core.projector import Projector
from stages.fit.core import boards
from stages.fit.core.boards import Fitting, Games, Probe
from stages.fit.heads.intervention import Cases, chosen, drawn, miscounted
from tests.builders import write_corpus, write_features
from tests.fit import workspace as w
from tests.oracles import othello as slow

SIDE, LONGEST = 4, 12
PARTS = Part("tokens", {"length": LONGEST}), Part("gpt", {"dim": 16, "depth": 3, "heads": 2})
COLUMN = Column("moves", "media", "tokens", classes=othello.names(SIDE))


def moves(n: int = 60) -> np.ndarray:
    return othello.random_games(np.random.default_rng(1).random((n, LONGEST)), SIDE)


def split_of(i: int) -> str:
    return ("train", "train", "train", "valid", "test")[i % 5]


def made(root: Path, projector: bool = True, spoilt: bool = False) -> Workspace:
    """Sixty games on 4 x 4 and a network drawn at random, which sees the moves but was never trained."""
    space, symbols = Workspace(root), [s[s > 0] for s in othello.symbols(moves(), SIDE)]
    if spoilt:
        symbols[4] = symbols[4][[0, 0, 1, 2]]
    rows: list[dict[str, object]] = [
        {"id": f"i{i:02d}", "split": split_of(i), "group": f"g{i}", "moves": game.tolist()} for i, game in enumerate(symbols)
    ]
    write_corpus(space.corpus("c"), [COLUMN], rows)
    torch.manual_seed(0)
    net = encoders.new(*PARTS, COLUMN, space.corpus("c"))
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    output = Projector("linear", net.width, net.width, 13) if projector else None
    folder = space.encoder("e") / "seed=0"
    folder.mkdir(parents=True)
    card = EncoderCard(*PARTS, COLUMN, "c", "d", "s", "none", 0, 0, net.width, projector=output and output.arguments)
    encoders.save(folder, net, card, output)
    atomic.seal(space.encoder("e"))
    write_features(
        space.features("f"), [str(r["id"]) for r in rows], [str(r["split"]) for r in rows], {0: np.zeros((60, 2), np.float32)}
    )
    return space


def run(space: Workspace, head: dict[str, Any], **changes: Any) -> dict[str, float | None]:
    node = w.node(head, support="encoders/e", metrics=[], label=None, seeds=[0], **changes)
    result = tasks.read_result(w.run(space, node))
    return {value.name: value.value for value in result.metrics}


def played(n: int = 60) -> Games:
    game = moves(n)
    symbols = torch.from_numpy(othello.symbols(game, SIDE))
    return Games(symbols, (symbols > 0).sum(1), symbols > 0, othello.replay(game, SIDE), SIDE)


def test_boards_are_those_of_a_walk_along_lines_seen_by_who_moves_next() -> None:
    games = played(20)
    colour, relative = boards.boards(games, "colour"), boards.boards(games, "relative")
    row = 0
    for game in moves(20):
        states = slow.game([m for m in game.tolist() if m >= 0], SIDE)
        last = 1
        for cells, player, _ in states:
            assert colour[row].tolist() == [{0: 0, 1: 1, -1: 2}[c] for c in cells]
            mine = player or -last
            assert relative[row].tolist() == [{0: 0, mine: 1, -mine: 2}[c] for c in cells]
            last, row = player or last, row + 1
    assert row == len(colour)


def test_a_probe_reads_what_is_linearly_there_and_agrees_with_a_library_on_a_square() -> None:
    from sklearn.linear_model import LogisticRegression

    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 6, generator=draw) * torch.tensor([1.0, 5.0, 0.1, 1.0, 1.0, 1.0]) + 3
    logits = torch.stack([x[:, 0] - 3, (x[:, 1] - 3) / 5, torch.zeros(len(x))], 1) * 3
    noisy = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    sharp = (10 * (x[:, 2] - 3)).round().long().clamp(-1, 1) % 3
    target = torch.stack([noisy, sharp], 1)
    probe = boards.fit(x, target, Fitting(epochs=30, batch_size=128, weight_decay=0.0), 0)
    z = ((x - probe.mean) / probe.std).numpy()
    known = LogisticRegression(C=1e6, max_iter=2000).fit(z, noisy.numpy())
    expected = known.predict_proba(z)
    np.testing.assert_allclose(probe(x)[:, 0].softmax(1).numpy(), expected, atol=0.03)
    assert (probe.predict(x)[:, 1] == sharp).float().mean() > 0.95


def test_a_direction_is_the_unit_vector_along_which_one_class_gains_most_on_another() -> None:
    torch.manual_seed(0)
    probe = Probe(torch.randn(5, 4, 3), torch.randn(4, 3), torch.randn(5), torch.rand(5) + 0.5)
    x = torch.randn(1, 5, requires_grad=True)
    direction = probe.direction(1, 2)
    for square in range(4):
        logits = probe(x)[0, square]
        (gradient,) = torch.autograd.grad(logits[2] - logits[1], x)
        torch.testing.assert_close(direction[square], gradient[0] / gradient.norm())


def test_cases_turn_one_disc_and_ask_for_the_legal_moves_of_that_board() -> None:
    games = played()
    cases = drawn(games, 40, test=True)
    assert len(cases.move) == 40
    changed = 0
    for i in range(40):
        own = [int(s) for s in othello.squares(cases.games.symbols[i].numpy(), SIDE) if s >= 0]
        cells, player, before = slow.game(own, SIDE)[cases.move[i]]
        square = int(cases.square[i])
        assert cells[square] == cases.colour[i] != 0 and player == cases.player[i]
        cells[square] *= -1
        board = {divmod(s, SIDE): c for s, c in enumerate(cells) if c}
        legal = slow.legal(board, SIDE, player)
        found = {int(othello.playable(SIDE)[k]) for k in np.flatnonzero(cases.legal[i])}
        assert found == legal and legal
        assert cases.changed[i] == (legal != before)
        changed += legal != before
    assert 0 < changed < 40


def test_misses_are_counted_among_as_many_moves_as_are_legal() -> None:
    rng = np.random.default_rng(0)
    logits, legal = rng.normal(size=(50, 12)), rng.random((50, 12)) < 0.3
    expected = [slow.miscounted(v.tolist(), set(np.flatnonzero(m).tolist())) for v, m in zip(logits, legal, strict=True)]
    assert miscounted(logits, legal).tolist() == expected
    assert not miscounted(np.where(legal, 5.0, -5.0), legal).any()


def test_an_edit_reaches_the_state_of_its_position_and_what_follows_alone() -> None:
    torch.manual_seed(0)
    net = encoders.new(*PARTS, COLUMN, Path("nowhere")).eval()
    for block in net.backbone.get_submodule("blocks").children():
        nn.init.normal_(block.get_parameter("qkv.weight"), std=0.5)
        nn.init.normal_(block.get_parameter("out.weight"), std=0.5)
    backbone: Any = net.backbone
    games = played(10)

    def add(x: Tensor, first: int) -> Tensor:
        x = x.clone()
        x[:, 4, 0] += 1.0
        return x

    plain, edited = boards.run(net, backbone, games)[0], boards.run(net, backbone, games, {1: add})[0]
    torch.testing.assert_close(edited[0], plain[0])  # the block before
    torch.testing.assert_close(edited[1][:, 4], plain[1][:, 4] + torch.eye(16)[0])
    torch.testing.assert_close(edited[2][:, :4], plain[2][:, :4])
    assert (edited[2][:, 4:] - plain[2][:, 4:]).abs().amax(2).min() > 1e-6
    again = boards.run(net, backbone, games)[0]  # the hooks are gone
    torch.testing.assert_close(again[2], plain[2])


def test_games_that_are_picked_out_keep_their_boards() -> None:
    some = chosen(played(), np.array([7, 3, 7]))
    assert (some.replay.board[0] == some.replay.board[2]).all() and len(some) == 3
    again = othello.replay(othello.squares(some.symbols.numpy(), SIDE), SIDE)
    assert (again.board == some.replay.board).all() and (again.player == some.replay.player).all()
    assert isinstance(drawn(some, 5, test=False), Cases)


def test_the_probe_chooses_its_block_on_valid_games_and_beats_the_most_common_class(tmp_path: Path) -> None:
    space = made(tmp_path)
    found = run(space, {"name": "board_probe", "target": "relative", "epochs": 20, "batch_size": 64})
    layers = [found[f"board_accuracy_{i}"] for i in range(3)]
    detail = tasks.read_result(space.task("q", "t")).details["fits"][0]
    assert found["board_accuracy"] == layers[detail["layer"]]
    assert detail["valid"][detail["layer"]] == max(detail["valid"])
    assert found["board_accuracy"] > found["most_common"] + 0.03  # type: ignore[operator]


def test_the_rate_of_legal_moves_is_that_of_a_loop_over_positions(tmp_path: Path) -> None:
    space = made(tmp_path)
    found = run(space, {"name": "legal_moves"})
    folder = space.encoder("e") / "seed=0"
    net, output = encoders.load(folder)[0], encoders.load_projector(folder)
    rate, mass, guess = [], [], []
    for i, game in enumerate(moves()):
        if split_of(i) != "test":
            continue
        own = game[game >= 0]
        for t, (cells, _, legal) in enumerate(slow.game(own.tolist(), SIDE)):
            if not legal:
                continue
            x = torch.from_numpy(othello.symbols(own[: t + 1], SIDE))[None]
            with torch.no_grad():
                logits = output(net.hidden(x)[-1])[0, -1, 1:].double()
            allowed = [k for k, s in enumerate(othello.playable(SIDE).tolist()) if s in legal]
            rate.append(int(logits.argmax()) in allowed)
            mass.append(float(logits.softmax(0)[allowed].sum()))
            guess.append(len(legal) / cells.count(0))
    assert found["legal_rate"] == pytest.approx(np.mean(rate))
    assert found["legal_mass"] == pytest.approx(np.mean(mass), rel=1e-5)
    assert found["any_empty"] == pytest.approx(np.mean(guess))


def test_the_null_edit_is_the_plain_network_and_a_probes_edit_is_chosen_among_the_scales(tmp_path: Path) -> None:
    space = made(tmp_path)
    null = run(space, {"name": "intervention", "edit": "none", "cases": 50})
    assert null["followed"] == 0.0
    games = drawn(_test_games(space), 50, test=True)
    folder = space.encoder("e") / "seed=0"
    net, output = encoders.load(folder)[0], encoders.load_projector(folder)
    errors = []
    for i, t in enumerate(games.move.tolist()):
        with torch.no_grad():
            logits = output(net.hidden(games.games.symbols[i : i + 1, : t + 1])[-1])[0, -1, 1:]
        errors.append(slow.miscounted(logits.tolist(), set(np.flatnonzero(games.legal[i]).tolist())))
    assert null["intervention_error"] == pytest.approx(np.mean(errors))
    run(space, {"name": "intervention", "edit": "probe", "cases": 50, "scales": [0.5, 2.0]})
    detail = tasks.read_result(space.task("q", "t")).details["fits"][0]
    assert detail["layers"] == [0, 1] and detail["valid"][f"{detail['scale']:g}"] == min(detail["valid"].values())


def _test_games(space: Workspace) -> Games:
    index = np.array([i for i in range(60) if split_of(i) == "test"])
    return chosen(played(), index)


def test_an_illegal_game_and_an_encoder_without_logits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"game 'i04' has an illegal move, number 2"):
        run(made(tmp_path / "a", spoilt=True), {"name": "legal_moves"})
    with pytest.raises(ContractError, match="no projector"):
        run(made(tmp_path / "b", projector=False), {"name": "legal_moves"})


@pytest.mark.parametrize(
    "head",
    [
        {"name": "board_probe", "target": "colours"},
        {"name": "board_probe", "epochs": 0},
        {"name": "legal_moves", "needed": 1.5},
        {"name": "intervention", "edit": "nothing"},
        {"name": "intervention", "scales": []},
        {"name": "intervention", "scales": [0.0]},
        {"name": "intervention", "cases": 0},
        {"name": "intervention", "layers": [3]},
        {"name": "intervention", "layers": []},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, head: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        run(made(tmp_path), head)
