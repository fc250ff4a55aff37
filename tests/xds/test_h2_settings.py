"""The compact settings are h2's settings, whatever is done to them."""

from __future__ import annotations

import pytest
from h2.exceptions import InvalidSettingsValueError
from h2.settings import SettingCodes, Settings
from hypothesis import given
from hypothesis import strategies as st

from mesh.xds.h2_settings import CompactSettings

VALUES = {
    SettingCodes.HEADER_TABLE_SIZE: st.integers(0, 9000),
    SettingCodes.MAX_CONCURRENT_STREAMS: st.integers(0, 300),
    SettingCodes.INITIAL_WINDOW_SIZE: st.integers(-1, 2**31),
    SettingCodes.MAX_FRAME_SIZE: st.integers(16_000, 20_000),
    SettingCodes.ENABLE_PUSH: st.integers(0, 2),
}
PROPOSALS = st.sampled_from(sorted(VALUES)).flatmap(
    lambda code: st.tuples(st.just(code), VALUES[code])
)
STEPS = st.lists(st.none() | PROPOSALS, max_size=30)


def propose(settings: Settings, code: SettingCodes, value: int) -> bool:
    try:
        settings[code] = value
    except InvalidSettingsValueError:
        return False
    return True


@given(
    st.booleans(), st.dictionaries(st.just(SettingCodes.MAX_CONCURRENT_STREAMS), st.just(4)), STEPS
)
def test_every_sequence_of_proposals_and_acknowledgements_gives_the_same(
    client: bool,  # noqa: FBT001 - drawn by Hypothesis
    initial: dict[SettingCodes, int],
    steps: list[tuple[SettingCodes, int] | None],
) -> None:
    theirs, ours = Settings(client, initial), CompactSettings(client, initial)
    for step in steps:
        if step is None:
            expected = {
                code: (one.original_value, one.new_value)
                for code, one in theirs.acknowledge().items()
            }
            found = {
                code: (one.original_value, one.new_value)
                for code, one in ours.acknowledge().items()
            }
            assert found == expected
        else:
            assert propose(ours, *step) == propose(theirs, *step)
        # The stock settings list a first proposal before it is in force, without a value.
        assert dict(ours) == {code: theirs[code] for code in theirs if theirs.get(code) is not None}
        assert ours.max_frame_size == theirs.max_frame_size
        assert ours.initial_window_size == theirs.initial_window_size


def test_settled_values_are_shared() -> None:
    first, second = CompactSettings(), CompactSettings()
    assert first == second
    assert first._settled is second._settled  # noqa: SLF001 - the sharing is the point


def test_a_setting_that_is_not_there_is_a_key_error() -> None:
    settings = CompactSettings()
    with pytest.raises(KeyError):
        settings[0x99]
    del settings[SettingCodes.MAX_FRAME_SIZE]
    assert SettingCodes.MAX_FRAME_SIZE not in settings
