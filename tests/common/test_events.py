"""Events become arrays: against a loop over rows, in slices of a column, under both ways to cut."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stages.common.column import EVENT, Column
from stages.common.errors import ContractError
from stages.common.events import places
from stages.common.media import decode
from tests.oracles import events as slow

COLUMN = Column("events", "media", "events", classes=["a", "b", "c"])


def rows(n: int = 40) -> slow.Rows:
    """1 to 12 events of 5 codes, two of them unknown, a third without a value."""
    rng = np.random.default_rng(0)
    found: slow.Rows = []
    for _ in range(n):
        times = 1e9 + rng.exponential(3.0, rng.integers(1, 13)).cumsum()
        found.append(
            [
                {"time": t, "code": "abcde"[rng.integers(5)], "value": None if rng.random() < 0.3 else float(rng.normal())}
                for t in times
            ]
        )
    return found


def contract(length: int = 7, keep: str = "last") -> dict[str, object]:
    return {"kind": "events", "length": length, "codes": COLUMN.classes, "keep": keep}


@pytest.mark.parametrize("keep", ["last", "first"])
def test_events_are_decoded_as_a_loop_over_rows_would(keep: str) -> None:
    given = rows()
    media = decode(pa.array(given, pa.list_(EVENT)), COLUMN, contract(keep=keep))
    data, lengths = slow.decoded(given, 7, ["a", "b", "c"], keep)
    assert media.data.dtype == np.float32 and media.lengths is not None and media.lengths.tolist() == lengths
    np.testing.assert_allclose(media.data, data, rtol=1e-6)
    assert np.isnan(media.data[..., 2]).any() and (media.data[..., 1] == 1).any()


def test_a_slice_of_a_column_and_its_chunks_decode_as_the_same_rows() -> None:
    whole = pa.array(rows(), pa.list_(EVENT))
    full = decode(whole, COLUMN, contract())
    for part, chosen in ((whole.slice(5, 9), slice(5, 14)), (pa.chunked_array([whole[:3], whole[3:11]]), slice(0, 11))):
        media = decode(part, COLUMN, contract())
        np.testing.assert_array_equal(media.data, full.data[chosen])
        assert media.lengths is not None and full.lengths is not None
        assert media.lengths.tolist() == full.lengths[chosen].tolist()


def test_seconds_survive_beside_times_of_many_years() -> None:
    given = [[{"time": t, "code": "a", "value": 1.0} for t in (4e9, 4e9 + 1, 4e9 + 3)]]
    assert decode(pa.array(given, pa.list_(EVENT)), COLUMN, contract(3)).data[0, :, 0].tolist() == [0.0, 1.0, 2.0]


def test_padding_is_zero_in_all_three_columns_and_no_code_is() -> None:
    media = decode(pa.array(rows(), pa.list_(EVENT)), COLUMN, contract(20))
    own = np.arange(20) < np.asarray(media.lengths)[:, None]
    assert (media.data[~own] == 0).all() and (media.data[own][:, 1] >= 1).all()


def test_places_follow_the_vocabulary() -> None:
    assert places(pa.array(["c", "x", "a"]), ["a", "b", "c"]).tolist() == [4, 1, 2]


def test_a_column_of_another_kind_is_refused() -> None:
    with pytest.raises(ContractError, match="holds text, the encoder takes events"):
        decode(pa.array(["a"]), Column("t", "media", "text"), contract())
