"""The page: well formed, self-contained, escaped, honest about what is missing, equal when made again."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from data.errors import UserError
from data.store import RolloutStore
from srpo_cli.__main__ import run as main
from srpo_cli.report import stores
from srpo_cli.report.build import report_html, write_report

VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Fails on a tag that closes what is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(text: str) -> Balance:
    """One document, balanced, that loads nothing from anywhere and refers only to what it holds."""
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(drawing)
    assert not {"script", "link", "iframe"} & set(parser.seen)
    assert set(re.findall(r"https?://[^\"\s<]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)', text))
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]*)', text)) <= set(re.findall(r'id="([^"]*)"', text))
    return parser


def test_page_of_a_run(run: Path) -> None:
    text = report_html([str(run)])
    seen = check_page(text).seen
    assert seen.count("svg") == 6
    assert seen.count("img") == 3
    for words in ("my-run", "Success", "Rewards of the failures", "Health of the updates", "Time", "75.0 %", "mujoco"):
        assert words in text
    assert "48 of 64, 95 %: 63.2-84.0 %" in text
    assert "evaluation, heldout states, greedy" in text
    assert "Episode 3, best failure with reward 0.600" in text
    assert text == report_html([str(run)])


def test_an_evaluation_of_a_mean_says_so(run: Path) -> None:
    metrics = run / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    changed = [line | {"averaged": 10} if line["stage"] == "eval" else line for line in lines]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in changed))
    assert "evaluation, mean of the last 10, heldout states, greedy" in report_html([str(run)])


def test_pictures_are_six_moments(run: Path) -> None:
    data = re.findall(r"base64,([^\"]*)", report_html([str(run)]))
    for picture in data:
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert pixels.shape == (192, 6 * 192 + 5 * 4, 3)
        assert pixels.std() > 10


def test_page_of_a_store_escapes_texts(store: RolloutStore) -> None:
    text = report_html([store.path])
    check_page(text)
    assert "<b>the" not in text
    assert "&lt;b&gt;the" in text


def test_a_run_without_metrics_or_rollouts_says_so(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    assert "No metrics yet" in report_html([str(run)])
    for file in sorted((run / "rollouts").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    text = report_html([str(run)])
    check_page(text)
    assert "How episodes look" not in text


def test_pictures_that_cannot_be_drawn_do_not_cost_the_report(
    store: RolloutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[str]:
        raise UserError("no EGL here; install libegl1")

    monkeypatch.setattr(stores, "_draw", fail)
    assert "could not be rendered here: no EGL here" in report_html([store.path])


def test_runs_and_stores_share_a_page(run: Path, store: RolloutStore, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    made = write_report([str(run), store.path], out)
    check_page(out.read_text())
    assert made["bytes"] == out.stat().st_size
    assert "my-run · a.zarr" in out.read_text()


@pytest.mark.parametrize("name", ["page.txt", "none/page.html", "."])
def test_impossible_files_are_refused(store: RolloutStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"end in \.html|cannot write"):
        write_report([store.path], tmp_path / name)


def test_a_single_iteration_has_a_single_tick(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()[:2]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    text = report_html([str(run)])
    check_page(text)
    assert "0.045" not in text


def test_report_says_what_the_time_went_into(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = [{**line, "pause": 1.0} for line in lines if line["stage"] in ("reward", "update")]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timed))
    assert main(["report", str(run), "--out", str(tmp_path / "a.html")]) == 0
    stages = [line["stage"] for line in timed]
    updates, rewards = 5.0 * stages.count("update"), 0.1 * stages.count("reward")
    total = updates + rewards + len(timed)
    shown = capsys.readouterr().out
    for part in (f"update {100 * updates / total:.1f} %", f"between stages {100 * len(timed) / total:.1f} %", "reward"):
        assert part in shown
    assert "Shares of the wall time" in (tmp_path / "a.html").read_text()
