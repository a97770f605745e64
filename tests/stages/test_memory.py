"""Two thousand episodes in one run: the memory of the parent and of every worker stays flat.

SRPO_EPISODES=2000 runs so many (default 600); add -s to see the figures.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from stages.collect import CollectSettings, collect
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.sim.workers.pool import Pool

EPISODES = int(os.environ.get("SRPO_EPISODES", "600"))
EVERY, WARM, BOUND = 10, 200, 5.0
"""episodes between two looks; episodes of the start that do not count; KB an episode"""


def resident(pid: int) -> float:
    """KB of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


@pytest.mark.slow
@pytest.mark.timeout(120 + 2 * EPISODES)
def test_memory_is_flat(tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.mkdir()
    MiniPolicy(MiniConfig(cameras={"agentview": 64}, channels=(8, 8, 8), hidden=32), seed=1).save(policy)
    settings = CollectSettings(tasks="2", groups=40, samples=EPISODES // 40, horizon=16, temperature=0.8)
    seen: list[list[float]] = []
    with Pool(2) as pool:

        def look(done: int, total: int, note: str) -> None:
            if done % EVERY == 0:
                seen.append([done, *map(resident, [os.getpid(), *pool.pids()])])

        result = collect(tmp_path / "a.zarr", policy, settings, pool, look)
        assert result["retries"] == {"crash": 0, "hang": 0, "exception": 0}
    table = np.array(seen)
    late = table[table[:, 0] > WARM]
    slopes = np.polyfit(late[:, 0], late[:, 1:], 1)[0]
    for row in table[:: max(len(table) // 20, 1)]:
        print(f"{row[0]:6.0f} episodes: " + "  ".join(f"{kb / 1024:7.1f} MB" for kb in row[1:]))
    print("slope, KB an episode: " + "  ".join(f"{slope:.2f}" for slope in slopes))
    assert (slopes < BOUND).all()
