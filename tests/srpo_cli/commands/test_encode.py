"""`srpo encode` on real tasks: rendered, encoded, up to date."""

import json

import numpy as np
import pytest

from data.store import RolloutStore
from srpo_cli.__main__ import run as srpo
from stages.sim.view import StateView
from stages.world_models.base import EncoderOptions
from stages.world_models.registry import load_world_model
from tests.srpo_cli.report.conftest import states, store

__all__ = ["states", "store"]


def test_encode_renders_the_stored_states(store: RolloutStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert srpo(["encode", store.path, "--set", "frames=3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["label"], result["encoded"], result["dim"]) == ("efficientnet-lite0", 7, 23040)
    rows = RolloutStore.open(store.path).group["encode/efficientnet-lite0/embedding"][:]
    assert np.isnan(rows[4]).all()
    view, model = StateView("libero_object", "lite"), load_world_model("efficientnet-lite0", EncoderOptions(frames=3))
    for index in (0, 7):
        episode = store.read(index)
        chosen = episode.state[[0, (episode.steps + 1) // 2, episode.steps]]
        clip = view.frames(int(store.plan.task[index]), chosen, "agentview", 128)
        np.testing.assert_array_equal(rows[index], model.encode(clip[None])[0])
    assert srpo(["encode", store.path, "--set", "frames=3"]) == 0
    assert "up to date: 7 episodes encoded as 'efficientnet-lite0'" in capsys.readouterr().out
