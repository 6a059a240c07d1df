"""Every command that changes something, killed a few times; `kill_campaign.py` does it hundreds of times."""

import kill_campaign
import pytest

N_KILL = 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", [name for name in kill_campaign.KINDS if name != "publish"])
def test_a_command_that_is_stopped_and_repeated_ends_like_one_in_peace(kind, tmp_path_factory):
    """Whatever signal ends a command at whatever moment: repeated, it leaves the same tables and files, and nobody."""
    scratch = tmp_path_factory.getbasetemp() / "kill_campaign"
    tally = kill_campaign.campaign(scratch, n_kill=N_KILL, seed=1, kinds=(kind,))
    assert tally.faults == []
    assert tally.compared[kind] >= 1
