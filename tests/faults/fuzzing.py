"""One parser under a coverage-guided fuzzer (atheris, which is libFuzzer): python -m tests.faults.fuzzing NAME RUNS FOLDER

It ends with an error and the input in FOLDER where the parser raises anything but its refusals, takes over 20 s, or lets the
process grow over 1 GiB more than it began with. `planted` is no parser: a crash behind six doors, each open to 15 of 256 bytes.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["stages"]):
    from tests.faults.parsers import REFUSALS, Parser, parsers

TIMEOUT_S, GROWTH_MB = 20, 1024


@atheris.instrument_func  # type: ignore[untyped-decorator]
def planted(data: bytes) -> None:
    """Raises KeyError behind six doors."""
    doors = 0
    for byte in data[1:7]:
        if not 0x80 < byte < 0x90:
            return
        doors += 1
    if doors == 6:
        raise KeyError("planted")


def main(name: str, runs: str, folder: str) -> None:
    parser = parsers()[name] if name != "planted" else Parser(planted, [b"nothing"])
    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True)
    for number, seed in enumerate(parser.seeds):
        (corpus / str(number)).write_bytes(seed)

    def once(data: bytes) -> None:
        with contextlib.suppress(*REFUSALS):
            parser.parse(data)

    held = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
    limits = [f"-runs={runs}", "-seed=1", f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={held + GROWTH_MB}", "-max_len=16384"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
