"""`irkd distill` without a teacher's weights: found, fetched from a real server, or explained."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from irkd.cli.main import main
from irkd.models.base import create_network

PAGE = "https://example.org/weights"
NAFNET = {"arch": "nafnet", "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
TINY: dict[str, Any] = {
    "name": "tiny",
    "task": "denoise",
    "teacher": {**NAFNET, "width": 6},
    "student": {**NAFNET, "width": 4},
    "methods": [{"name": "response", "ssim": 0}],
    "data": {"train": "procedural", "validation": "none", "count": 2, "size": 48},
    "training": {"steps": 1, "batch_size": 1, "patch": 32, "precision": "fp32"},
    "releases": [{"file": "net.pth", "page": PAGE, "trained_on": "Noise 5"}],
}

Run = Callable[..., tuple[int, str]]


def released(width: int = 6) -> bytes:
    """A teacher as its authors would release it."""
    torch.manual_seed(width)
    options = {key: value for key, value in NAFNET.items() if key != "arch"}
    buffer = io.BytesIO()
    torch.save({"params": create_network("nafnet", width=width, **options).state_dict()}, buffer)
    return buffer.getvalue()


CONTENT = released()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def distill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(content: dict[str, Any], *arguments: object) -> tuple[int, str]:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(content))
        command = ["distill", "--preset", path, "--device", "cpu", *arguments]
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in command])
        return int(end.value.code or 0), capsys.readouterr().err

    return call


@pytest.fixture
def requests() -> list[str]:
    return []


@pytest.fixture
def server(requests: list[str]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def fetchable(server: str, sha256: str = SHA256) -> dict[str, Any]:
    release = {"file": "net.pth", "page": PAGE, "url": f"{server}/net.pth", "sha256": sha256}
    return {**TINY, "releases": [release]}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def teacher_of(run: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return dict(manifest["teacher"])


def test_a_page_is_named_with_the_place_and_the_file_is_found_there(
    distill: Run, cache: Path, tmp_path: Path
) -> None:
    code, said = distill(TINY, "--out", "run")
    assert code == 2
    place = cache / "weights" / "nafnet-denoise-noise-5" / "net.pth"
    for part in (PAGE, "net.pth (trained on Noise 5)", str(place), "--teacher FILE"):
        assert part in said
    assert "--train-teacher" in said
    assert "--fetch" not in said
    assert said.count("error:") == 1
    assert not (tmp_path / "run").exists()

    # The folder is there, so that the file can be moved to the very path that was printed.
    place.write_bytes(CONTENT)
    code, said = distill(TINY, "--out", "run")
    assert code == 0, said
    assert f"teacher: net.pth (trained on Noise 5), from {place}" in said
    assert "does not tell arch nafnet; the preset says so" in said
    assert teacher_of(tmp_path / "run")["weights"] == str(place)
    assert teacher_of(tmp_path / "run")["sha256"] == SHA256


def test_a_download_under_another_name_is_found(distill: Run, cache: Path) -> None:
    folder = cache / "weights" / "nafnet-denoise-noise-5"
    folder.mkdir(parents=True)
    (folder / "net (1).pth").write_bytes(CONTENT)
    code, said = distill(TINY, "--audit")
    assert code == 0, said
    assert "net (1).pth" in said
    (folder / "another.pth").write_bytes(CONTENT)
    code, said = distill(TINY, "--audit")
    assert code == 2
    assert "no weights here" in said


def test_options_of_a_release_go_to_the_teacher(distill: Run, cache: Path, tmp_path: Path) -> None:
    wide = {"file": "net.pth", "page": PAGE, "trained_on": "wide", "options": {"width": 8}}
    content = {**TINY, "releases": [*TINY["releases"], wide]}
    code, said = distill(content, "--out", "run")
    assert code == 2
    assert "net.pth (trained on wide)" in said
    place = cache / "weights" / "nafnet-denoise-wide" / "net.pth"
    place.write_bytes(released(8))
    code, said = distill(content, "--out", "run")
    assert code == 0, said
    assert "width 8" in said
    preset = yaml.safe_load((tmp_path / "run" / "preset.yaml").read_text())
    assert preset["teacher"]["width"] == 8


def test_a_file_of_another_network_says_how_to_describe_it(distill: Run, tmp_path: Path) -> None:
    (tmp_path / "wide.pth").write_bytes(released(8))
    code, said = distill(TINY, "--teacher", "wide.pth")
    assert code == 2
    assert "width 8 and 6" in said
    assert "--set teacher." in said
    code, said = distill(TINY, "--teacher", "wide.pth", "--set", "teacher.width=8", "--audit")
    assert code == 0, said


def test_a_damaged_file_in_its_place_is_named(distill: Run, cache: Path) -> None:
    place = cache / "weights" / "nafnet-denoise-noise-5" / "net.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT[:100])
    code, said = distill(TINY, "--audit")
    assert code == 2
    assert str(place) in said.replace("\n", "")
    assert "damaged" in said


def test_where_none_are_released_the_teacher_must_be_trained(distill: Run) -> None:
    code, said = distill({**TINY, "releases": []})
    assert code == 2
    assert "Its authors released none for denoise." in said
    assert "--train-teacher" in said
    code, said = distill({key: value for key, value in TINY.items() if key != "releases"})
    assert code == 2
    assert "released none" not in said
    assert "--train-teacher" in said


def test_shipped_presets_explain_themselves_for_every_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = {
        ("res-skd", "denoise"): "real_denoising.pth",
        ("drs-skd", "derain"): "trained on Rain200L",
        ("ufor-skd", "derain"): "released none for derain",
    }
    for (name, task), part in expected.items():
        with pytest.raises(SystemExit) as end:
            main(["distill", "--preset", name, "--task", task])
        said = capsys.readouterr().err
        assert end.value.code == 2
        assert part in said
        assert "--train-teacher" in said
    with pytest.raises(SystemExit):
        main(["distill", "--preset", "res-skd", "--task", "jpeg"])
    assert "It has: derain, deblur, denoise, dehaze" in capsys.readouterr().err


def test_without_a_terminal_nothing_is_fetched_unasked(
    distill: Run, server: str, requests: list[str], cache: Path
) -> None:
    code, said = distill(fetchable(server))
    assert code == 2
    for part in ("--fetch", f"{server}/net.pth", PAGE, "--teacher FILE", "--train-teacher"):
        assert part in said
    assert requests == []
    assert files(cache) == []


def test_fetch_says_yes_and_the_file_is_kept(
    distill: Run, server: str, requests: list[str], cache: Path, tmp_path: Path
) -> None:
    code, said = distill(fetchable(server), "--fetch", "--out", "run")
    assert code == 0, said
    (kept,) = files(cache)
    assert kept.read_bytes() == CONTENT
    assert f"fetching net.pth from {server}/net.pth" in said
    assert "MiB" in said
    assert f"kept in {kept}" in said
    assert teacher_of(tmp_path / "run")["sha256"] == SHA256
    code, said = distill(fetchable(server), "--audit")
    assert code == 0, said
    assert f"teacher: net.pth, from {kept}" in said
    assert requests == ["/net.pth"]
    # A file that has changed since is not trusted, and fetched anew.
    kept.write_bytes(CONTENT[:-1])
    code, _ = distill(fetchable(server), "--audit")
    assert code == 2
    code, said = distill(fetchable(server), "--audit", "--fetch")
    assert code == 0, said
    assert kept.read_bytes() == CONTENT


def test_what_came_with_another_checksum_is_not_kept(
    distill: Run, server: str, cache: Path, tmp_path: Path
) -> None:
    code, said = distill(fetchable(server, "0" * 64), "--fetch", "--out", "run")
    assert code == 2
    assert f"has SHA-256 {SHA256}, expected {'0' * 64}" in said
    assert files(cache) == []
    assert not (tmp_path / "run").exists()


def test_no_connection_is_one_message(distill: Run, cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    code, said = distill(fetchable(f"http://127.0.0.1:{port}"), "--fetch")
    assert code == 2
    assert f"http://127.0.0.1:{port}/net.pth cannot be fetched" in said
    assert "Traceback" not in said
    assert files(cache) == []


def test_fetch_cannot_open_a_page(distill: Run) -> None:
    code, said = distill(TINY, "--fetch")
    assert code == 2
    assert "No program can fetch from such a page" in said


def on_a_terminal(answer: str, *arguments: str) -> tuple[int, str]:
    """Run irkd with a terminal for its input and output, and type `answer` into it."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "irkd", *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        close_fds=True,
    )
    os.close(terminal)
    shown = b""
    while b"[y/N]" not in shown and (part := _read(controller)):
        shown += part
    os.write(controller, answer.encode())
    while part := _read(controller):
        shown += part
    os.close(controller)
    return process.wait(), shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how a pseudo-terminal ends
        return b""


@pytest.mark.parametrize("answer", ["n", pytest.param("y", marks=pytest.mark.slow)])
def test_on_a_terminal_it_asks(
    answer: str, server: str, requests: list[str], cache: Path, tmp_path: Path
) -> None:
    preset = tmp_path / "tiny.yaml"
    preset.write_text(yaml.safe_dump(fetchable(server)))
    code, shown = on_a_terminal(
        f"{answer}\n", "distill", "--preset", str(preset), "--device", "cpu", "--audit"
    )
    assert f"Fetch net.pth from {server}/net.pth into" in shown.replace("\r\n", "")
    if answer == "n":
        assert code == 2
        assert "--teacher FILE" in shown
        assert requests == []
        return
    assert code == 0, shown
    assert requests == ["/net.pth"]
    assert files(cache)[0].read_bytes() == CONTENT


def test_networks_that_do_not_fit_are_refused_before_they_are_made(distill: Run) -> None:
    nafnet = "{arch: nafnet, width: 1024, enc_blk_nums: [1, 1, 1, 1], dec_blk_nums: [1, 1, 1, 1]}"
    code, said = distill({**TINY, "methods": [{"name": "none"}]}, "--set", f"student={nafnet}")
    assert code == 2
    assert "parameters need" in said
    assert "are free" in said
    grey = {**TINY, "methods": [{"name": "none"}], "student": {**TINY["student"], "img_channel": 1}}
    code, said = distill(grey)
    assert code == 2
    assert "training images are RGB" in said
