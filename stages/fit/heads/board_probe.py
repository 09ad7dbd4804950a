"""What stands on every square, read linearly from a network's states after every move."""

from __future__ import annotations

from typing import Literal

from stages.common.errors import unknown
from stages.common.registry import part
from stages.fit.core import boards
from stages.fit.core.boards import Fitting, Target
from stages.fit.core.head import Outcome, Problem


@part
class BoardProbe:
    """p(square s) = softmax(W_l,s x_t + b_l,s) over three classes, fitted at every block l of the encoder in `support:`.

    Nanda, Lee and Wattenberg 2023, "Emergent Linear Representations", sec. 3: x_t is the residual stream after move t; one
    probe for all moves. target `colour`: empty, black, white; `relative`: empty, mine, yours, mine being the colour that moves
    next (passes heeded; the boards are those that the rules make of the moves). The features only say which games are used.

    Figures: board_accuracy over squares and moves of the test games, at the block with the best accuracy on valid games;
    board_accuracy_<l> of each block; most_common, of the class that each square has most often in the train games.
    Raises UserError for an encoder or a corpus without Othello's moves, ContractError for an illegal game.
    """

    label: Literal["class", "number", "text", "steps"] | None = None

    def __init__(
        self,
        *,
        target: Target = "relative",
        epochs: int = 6,
        batch_size: int = 512,
        lr: float = 0.03,
        weight_decay: float = 0.01,
    ) -> None:
        if target not in boards.CLASSES:
            raise unknown("target", target, boards.CLASSES, where="head board_probe")
        self.target: Target = target
        self.how = Fitting(epochs, batch_size, lr, weight_decay)

    def fit(self, problem: Problem) -> Outcome:
        encoder, backbone = boards.network(problem.input)
        played = {split: boards.games(problem, problem.split(split), encoder) for split in ("train", "valid", "test")}
        target = {split: boards.boards(games, self.target) for split, games in played.items()}
        states = {split: boards.states(encoder, backbone, games) for split, games in played.items()}
        found: dict[str, list[float]] = {"valid": [], "test": []}
        for layer, x in enumerate(states["train"]):
            probe = boards.fit(x, target["train"], self.how, problem.seed)
            for split, figures in found.items():
                right = probe.predict(states[split][layer]) == target[split]
                figures.append(right.double().mean().item())
        best = max(range(len(found["valid"])), key=found["valid"].__getitem__)
        usual = target["train"].mode(0).values
        values = {"board_accuracy": found["test"][best]}
        values |= {f"board_accuracy_{layer}": figure for layer, figure in enumerate(found["test"])}
        values["most_common"] = (usual == target["test"]).double().mean().item()
        details = {"layer": best, "valid": found["valid"], **boards.described(self.how, played)}
        return Outcome(values=values, items=len(played["test"]), details=details)
