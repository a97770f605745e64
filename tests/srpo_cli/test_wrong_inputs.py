"""Wrong input of every kind ends 2 with one line that says how to mend it, and leaves every file as it was."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from srpo_cli.__main__ import run
from tests.srpo_cli.conftest import fingerprint


def save(path: Path, **arrays: np.ndarray) -> None:
    base = {"embedding": np.eye(4), "success": np.array([1, 0, 1, 0]), "task": np.zeros(4, int)}
    np.savez(path, **{name: values for name, values in (base | arrays).items() if values is not None})


def nan(x: np.ndarray) -> np.ndarray:
    x = x.astype(float)
    x.flat[1] = np.nan
    return x


WRONG = [
    # misspelt names
    ("suite", "collect x.zarr --policy policy --suite libero_objct", "did you mean 'libero_object'"),
    ("suite of suites", "suites libero_gol", "did you mean 'libero_goal'"),
    ("preset", "reward store.zarr --preset papr", "did you mean 'paper'"),
    ("loop preset", "loop r --preset lapto", "did you mean 'laptop'"),
    ("world model", "encode store.zarr --world-model eficientnet-lite0", "did you mean 'efficientnet-lite0'"),
    ("algorithm", "update store.zarr --policy policy --out o --reward paper --algorithm gpro", "did you mean 'grpo'"),
    ("look", "collect x.zarr --policy policy --look light", "look 'light'"),
    ("engine", "collect x.zarr --policy policy --engine fst", "did you mean 'fast'"),
    ("camera", "encode store.zarr --set camera=agentvew", "did you mean 'agentview'"),
    ("command", "colect store.zarr", "colect"),
    ("option", "collect x.zarr --polcy policy", "--polcy"),
    # misspelt settings and impossible values
    ("setting of reward", "reward store.zarr --set alhpa=0.5", "did you mean 'alpha'"),
    ("setting of collect", "collect x.zarr --policy policy --set slot=3", "did you mean 'slots'"),
    ("setting of sft", "sft store.zarr --out o --set step=3", "did you mean 'steps'"),
    ("setting of update", "update store.zarr --policy policy --out o --set clip_hi=0.3", "did you mean 'clip_high'"),
    ("setting of a run", "loop r --preset quick --set update.lrr=1e-4", "did you mean 'lr'"),
    ("section of a run", "loop r --preset quick --set updat.lr=1e-4", "did you mean 'update'"),
    ("no section", "loop r --preset quick --set lr=1e-4", "update.lr"),
    ("no value", "reward store.zarr --set alpha", "key=value"),
    ("no number", "reward store.zarr --set alpha=much", "alpha"),
    ("alpha above 1", "reward store.zarr --set alpha=1.5", "alpha"),
    ("negative rate", "update store.zarr --policy policy --out o --set lr=-1", "lr"),
    ("no groups", "collect x.zarr --policy policy --groups 0", "groups"),
    ("no rank", "update store.zarr --policy policy --out o --set lora_rank=0", "lora_rank must be 1 or more, or none"),
    ("nothing to merge", "merge policy --out o", "it is a whole policy already"),
    ("average of one", "average policy --out o", "two policies or more"),
    ("average of two networks", "average policy other --out o", "not policies of one network"),
    ("negative samples", "collect x.zarr --policy policy --samples -2", "samples"),
    ("no workers", "collect x.zarr --policy policy --workers 0", "workers"),
    ("cold", "collect x.zarr --policy policy --temperature -1", "temperature"),
    ("a run from nothing", "loop r --policy none", "no policy folder none"),
    ("no iterations", "loop r --preset quick --iterations -1", "iterations"),
    ("unknown arm", "bench learning r --arm binery", "did you mean 'binary'"),
    ("an arm with another start", "bench learning r --arm a:demo.per_task=3", "share their start"),
    ("unknown start", "bench learning r --start spars", "did you mean 'sparse'"),
    ("seeds that are none", "bench learning r --seeds a", "seeds"),
    ("unknown draw", "collect r --policy p --set draw=mixd", "draw"),
    ("no steps", "sft store.zarr --out o --set steps=0", "steps"),
    ("text for a count", "collect x.zarr --policy policy --groups two", "--groups"),
    # numbers of tasks, initial states and episodes that do not exist
    ("task 10", "collect x.zarr --policy policy --tasks 10", "10"),
    ("tasks x", "collect x.zarr --policy policy --tasks x", "x"),
    ("initial state 50", "collect x.zarr --policy policy --inits 50", "50"),
    ("init of replay", "replay --suite libero_object --task 0 --init 99 --actions a.npy --out s.npy", "99"),
    ("too many greedy", "eval --policy policy --tasks 2 --episodes 1000", "1000"),
    ("episode 99", "inspect store.zarr --episode 99", "99"),
    # what `srpo eval` compares
    ("nothing to evaluate", "eval --tasks 2", "--policy FOLDER or --run RUN"),
    ("a policy and a run", "eval --policy policy --run bare", "one of them"),
    ("a run against", "eval --run bare --against policy", "--against goes with --policy"),
    ("every without run", "eval --policy policy --every 2", "--every goes with --run"),
    ("picture without run", "eval --policy policy --against policy --image c.png", "--image goes with --run"),
    ("missing against", "eval --policy policy --against none --tasks 2", "no policy folder none"),
    ("missing of the two", "eval --policy none --against policy --tasks 2", "no policy folder none"),
    ("truncated against", "eval --policy policy --against cutpolicy --tasks 2 --out pair", "cutpolicy"),
    ("a store for two", "eval --policy policy --against other --tasks 2 --out store.zarr", "name a folder"),
    ("a file for two", "eval --policy policy --against other --tasks 2 --out text.txt", "text.txt"),
    ("run without policies", "eval --run bare", "`srpo loop bare` makes them"),
    ("missing run", "eval --run none", "no run at none"),
    ("a policy as run", "eval --run policy", "no run at policy"),
    ("every 0", "eval --run bare --every 0", "--every must be 1 or more"),
    ("picture of another kind", "eval --run bare --image c.jpg", "must end in .png"),
    ("unknown setting of a run", "eval --run bare --set slot=3", "did you mean 'slots'"),
    # missing, foreign, truncated
    ("missing store", "encode none.zarr", "none.zarr"),
    ("missing store of reward", "reward none.zarr", "none.zarr"),
    ("missing policy", "collect x.zarr --policy none", "none"),
    ("missing file", "reward none.npz --out o.npz", "none.npz"),
    ("missing actions", "replay --suite libero_object --task 0 --init 0 --actions none.npy --out s.npy", "none.npy"),
    ("a text as store", "encode text.txt", "text.txt"),
    ("a text as policy", "collect x.zarr --policy text.txt", "text.txt"),
    ("a folder without store", "inspect plain", "plain"),
    ("a folder as run", "report plain --out r.html", "plain"),
    ("a folder with files as run", "loop plain --preset quick", "plain"),
    ("truncated store", "encode cut.zarr", "cut.zarr"),
    ("foreign group", "reward foreign.zarr", "foreign.zarr"),
    ("truncated npz", "reward cut.npz --out o.npz", "cut.npz"),
    ("a text as npz", "reward text.npz --out o.npz", "text.npz"),
    ("a text as actions", "replay --suite libero_object --task 0 --init 0 --actions text.txt --out s.npy", "text.txt"),
    ("truncated weights", "collect x.zarr --policy cutpolicy", "cutpolicy"),
    ("foreign weights", "collect x.zarr --policy foreign", "foreign"),
    # NaN, wrong shapes, wrong content
    ("NaN embedding", "reward nan.npz --out o.npz", "row"),
    ("flat embedding", "reward flat.npz --out o.npz", "embedding"),
    ("lengths", "reward short.npz --out o.npz", "one an episode"),
    ("success 2", "reward two.npz --out o.npz", "success"),
    ("no success array", "reward lacking.npz --out o.npz", "success"),
    ("NaN actions", "replay --suite libero_object --task 0 --init 0 --actions nan.npy --out s.npy", "nan.npy"),
    ("six columns", "replay --suite libero_object --task 0 --init 0 --actions six.npy --out s.npy", "7"),
    ("nothing done", "encode empty.zarr", "empty.zarr"),
    ("no demonstrations", "sft empty.zarr --out o", "empty.zarr"),
    # labels and lineage
    ("missing embedding", "reward store.zarr --embedding pixls", "srpo encode"),
    ("embedding of binary", "reward store.zarr --preset binary --embedding pixels", "--embedding decides nothing"),
    ("earlier stores of binary", "reward store.zarr --preset binary --earlier x.zarr", "--earlier decides nothing"),
    ("label of a file", "reward e.npz --out o.npz --label a", "--label is for a store"),
    ("earlier of even draws", "collect x.zarr --policy policy --earlier store.zarr", "--earlier decides nothing"),
    ("no embedding at all", "reward store.zarr", "srpo encode"),
    ("label with a slash", "reward store.zarr --preset binary --label a/b", "a/b"),
    ("missing reward", "update store.zarr --policy policy --out o --reward papr", "papr"),
    ("another policy", "update store.zarr --policy other --out o --reward binary", "collected with"),
    ("another request", "collect store.zarr --policy policy --tasks 3", "store.zarr"),
    # where nothing can be written, and what is not there
    ("read-only store", "encode /proc/x.zarr", "/proc/x.zarr"),
    ("read-only demos", "demo /proc/x.zarr --tasks 2", "/proc/x.zarr"),
    ("read-only collect", "collect /proc/x.zarr --policy policy --tasks 2", "/proc/x.zarr"),
    ("demo task", "demo x.zarr --tasks 77", "77"),
    ("demo count", "demo x.zarr --tasks 2 --per-task 0", "per_task"),
    ("demo of another suite", "demo x.zarr --suite libero_goal --tasks 7", "libero_object"),
    ("bench of nothing", "bench smi", "Did you mean 'sim'?; see `srpo bench --help`"),
    ("a preset for a checkpoint", "loop r --preset openvla", "no policy folder CHECKPOINT"),
    ("a plan of no iterations", "loop r --preset quick --iterations -1 --plan", "--iterations must be 0"),
    ("a plan of another run", "loop bare --preset quick --plan", "bare was started with"),
    ("a plan with a tracker", "loop r --preset quick --track wand --plan", "did you mean 'wandb'"),
    ("a run as policy", "collect x.zarr --policy bare", "bare is a run, no policy; give one of bare/policies"),
    ("stores as store", "inspect .", "it holds stores: give one, as "),
    ("a report of nothing", "report none", "no rollout store at none"),
    ("a report without place", "report store.zarr", "--out FILE.html"),
    ("far actions", "replay --suite libero_object --task 0 --actions far.npy --out s.npy", "action 1 leaves [-1, 1]"),
    ("states to a text", "replay --suite libero_object --task 0 --actions a.npy --out s.txt", "ends in .npy"),
    ("camera of no picture", "replay --suite libero_object --task 0 --actions a.npy --out s.npy --size 9", "--image"),
    ("read-only run", "loop /proc/run --preset quick", "/proc/run"),
    ("no argument", "encode", "STORE"),
]


def spoil(folder: Path) -> None:
    """Broken variants of the good inputs."""
    (folder / "plain").mkdir()
    (folder / "plain" / "thesis.tex").write_text("precious")
    (folder / "bare").mkdir()
    (folder / "bare" / "run.toml").write_text('[eval]\ntasks = "2"\nevery = 5\n')
    shutil.copytree(folder / "store.zarr", folder / "cut.zarr")
    (folder / "cut.zarr" / "zarr.json").write_text((folder / "cut.zarr" / "zarr.json").read_text()[:40])
    shutil.copytree(folder / "store.zarr" / "step", folder / "foreign.zarr")
    shutil.copytree(folder / "policy", folder / "cutpolicy")
    weights = folder / "cutpolicy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    shutil.copytree(folder / "policy", folder / "foreign")
    (folder / "foreign" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "cut.npz").write_bytes((folder / "e.npz").read_bytes()[:200])
    (folder / "text.npz").write_text("hello")
    save(folder / "nan.npz", embedding=nan(np.eye(4)))
    save(folder / "flat.npz", embedding=np.ones(4))
    save(folder / "short.npz", success=np.array([1, 0, 1]))
    save(folder / "two.npz", success=np.array([1, 0, 2, 0]))
    save(folder / "lacking.npz", success=None)
    np.save(folder / "a.npy", np.zeros((3, 7)))
    np.save(folder / "nan.npy", nan(np.zeros((3, 7))))
    np.save(folder / "far.npy", np.array([[1.0] * 7, [1.0] * 6 + [-1.01]]))
    np.save(folder / "six.npy", np.zeros((3, 6)))


@pytest.fixture(scope="module")
def inputs(folder: Path) -> Path:
    """The good inputs, their broken variants, another policy, and a reward in the store."""
    from data.checkpoint import write_checkpoint
    from stages.policies.mini import MiniConfig, MiniPolicy
    from stages.progress.settings import reward_settings
    from stages.reward import reward_store

    write_checkpoint(folder / "other", MiniPolicy(MiniConfig(hidden=64)).save, {"kind": "sft"})
    reward_store(folder / "store.zarr", reward_settings("binary"))
    spoil(folder)
    return folder


@pytest.mark.parametrize(("command", "says"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_one_line_exit_2_and_nothing_changed(
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    says: str,
) -> None:
    monkeypatch.chdir(inputs)
    before = fingerprint(inputs)
    code = run(command.split())
    stderr = capsys.readouterr().err.strip().splitlines()
    assert code == 2, stderr
    assert len(stderr) == 1, stderr
    assert stderr[0].startswith("srpo: ")
    assert says in stderr[0]
    assert "Traceback" not in stderr[0]
    assert fingerprint(inputs) == before


@pytest.mark.parametrize("words", [[], ["bench"]])
def test_without_a_command_there_is_help_and_no_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    printed = capsys.readouterr()
    assert "Usage: srpo" in printed.out + printed.err
    assert "srpo:" not in printed.err


def test_json_error_keeps_stdout_empty(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reward", str(inputs / "none.zarr"), "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_our_own_fault_is_1_with_a_log(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import stages.encode

    def broken(*_: object) -> None:
        error = RuntimeError("a bug")
        error.add_note("a way on")
        raise error

    monkeypatch.setenv("SRPO_CACHE", str(tmp_path))
    monkeypatch.setattr(stages.encode, "encode_store", broken)
    assert run(["encode", str(inputs / "store.zarr")]) == 1
    message = capsys.readouterr().err
    assert "RuntimeError: a bug" in message and "; a way on" in message and "Traceback" not in message
    (log,) = (tmp_path / "logs").glob("*.log")
    assert str(log) in message
    assert "Traceback" in log.read_text()


def test_interrupt_is_130(inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import stages.encode

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages.encode, "encode_store", interrupted)
    assert run(["encode", str(inputs / "store.zarr")]) == 130
    assert "same command" in capsys.readouterr().err
