"""Claims about data sets of several files: directories with splits and cards, and data sets fetched from a hub."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow
import pytest
from pyarrow import parquet

from headwater.errors import InputError
from headwater.problems.files import FileSource, read_problems
from headwater.problems.labels import LabelSet


def line(text: str, answer: str) -> bytes:
    return json.dumps({"prompt": text, "answer": answer}).encode() + b"\n"


FILES = {
    "README.md": b"---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: data/train-*.jsonl\n"
    b"  - split: test\n    path: data/test.jsonl\n- config_name: other\n  data_files: other/train.jsonl\n---\nSums.\n",
    "data/train-0.jsonl": line("What is 2+2?", "4") + line("What is 2+3?", "5"),
    "data/train-1.jsonl": line("What is 2+4?", "6"),
    "data/test.jsonl": line("What is 9+9?", "18"),
    "other/train.jsonl": line("What is 1+1?", "2"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "sums", FILES)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def gold(labels: LabelSet) -> list[str]:
    return [labels.answers[problem.problem_id] for problem in labels.problems]


def refusal_of(folder: Path, **options: Any) -> str:
    with pytest.raises(InputError) as refusal:
        read_problems(FileSource(path=str(folder), **options))
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_directory_is_read_by_config_and_split(folder: Path) -> None:
    assert gold(read_problems(FileSource(path=str(folder), config="main"))) == ["4", "5", "6"]
    assert gold(read_problems(FileSource(path=str(folder), config="main", split="test"))) == ["18"]
    assert gold(read_problems(FileSource(path=str(folder), config="other"))) == ["2"]


def test_the_splits_of_a_directory_without_a_card_come_from_its_file_names(tmp_path: Path) -> None:
    folder = write(tmp_path, {"train.jsonl": line("What is 2+2?", "4"), "test.jsonl": line("What is 9+9?", "18")})
    assert gold(read_problems(FileSource(path=str(folder), split="test"))) == ["18"]


def test_a_directory_of_parquet_files_is_read(tmp_path: Path) -> None:
    for index in range(2):
        rows = [{"question": f"What is {index}+1?", "answer": index + 1}]
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"train-0000{index}-of-00002.parquet")
    assert gold(read_problems(FileSource(path=str(tmp_path)))) == ["1", "2"]


def test_the_digest_is_of_the_files_of_the_split(folder: Path) -> None:
    source = FileSource(path=str(folder), config="main")
    first = read_problems(source).digest
    (folder / "data/test.jsonl").write_bytes(line("What is 8+8?", "16"))
    assert read_problems(source).digest == first
    (folder / "data/train-1.jsonl").write_bytes(line("What is 8+8?", "16"))
    assert read_problems(source).digest != first


def test_a_bad_row_and_a_contradiction_name_their_files(folder: Path) -> None:
    (folder / "data/train-1.jsonl").write_bytes(b"{}\n")
    assert refusal_of(folder, config="main").startswith(f"problems {folder}/data/train-1.jsonl, line 1: no column")
    (folder / "data/train-1.jsonl").write_bytes(line("What is 2 + 2?", "5"))
    pair = f"({folder}/data/train-0.jsonl line 1 and {folder}/data/train-1.jsonl line 1)"
    assert pair in refusal_of(folder, config="main")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"config": "main", "split": "validation"}, "no files of split 'validation'; found: train, test. Name one"),
        (
            {"config": "none"},
            "config 'none': no data set of .jsonl or .parquet files (ValueError: BuilderConfig 'none'",
        ),
        ({"config": "main", "revision": "v1"}, "revision 'v1' is of a hub data set, and this is a local directory"),
    ],
)
def test_a_config_split_or_revision_that_is_not_there_is_refused(
    folder: Path, options: dict[str, str], reason: str
) -> None:
    assert reason in refusal_of(folder, **options)


BAD_FOLDERS = {
    "nothing": ({}, "no data set of .jsonl or .parquet files"),
    "CSV": ({"train.csv": b"prompt,answer\nHow?,4\n"}, "found train.csv; allowed: .jsonl and .parquet files"),
    "pickles": ({"train.pkl": b"cos\nsystem\n(S'touch canary'\ntR."}, "no data set of .jsonl or .parquet files"),
    "a broken card": ({**FILES, "README.md": b"---\nconfigs: [\n---\n"}, "no data set of .jsonl or .parquet files"),
    "a card of another shape": ({**FILES, "README.md": b"---\nconfigs: 7\n---\n"}, "problems "),
    "a script": ({**FILES, "sums.py": b"open('canary', 'w')"}, "Dataset scripts are no longer supported"),
    "a card that names no file": (
        {**FILES, "README.md": b"---\nconfigs:\n- config_name: main\n  data_files: none/*.jsonl\n---\n"},
        "problems ",
    ),
    "a card that names a file outside": (
        {
            "../secret.jsonl": line("What is secret?", "1"),
            "README.md": b"---\nconfigs:\n- config_name: main\n  data_files: ../secret.jsonl\n---\n",
            "train.jsonl": line("How?", "4"),
        },
        "secret.jsonl, which is outside the data set; give that file's path",
    ),
}


@pytest.mark.parametrize("claim", BAD_FOLDERS)
def test_a_directory_that_is_no_data_set_is_refused_and_nothing_in_it_is_run(
    claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files, reason = BAD_FOLDERS[claim]
    folder = tmp_path / "sums"
    folder.mkdir()
    message = refusal_of(write(folder, files), config="main" if "README.md" in files else None)
    assert message.startswith(f"problems {folder}")
    assert reason in message
    assert not list(tmp_path.rglob("canary"))


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """The few answers of the Hugging Face hub that fetching the data set owner/sums asks for."""

    files: ClassVar = {**FILES, "sums.py": b"open('canary', 'w')", "weights.bin": b"never fetched"}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        api, files = "/api/datasets/owner/sums", f"/datasets/owner/sums/resolve/{COMMIT}/"
        if path in (f"{api}/revision/main", f"{api}/revision/v1"):
            siblings = [{"rfilename": name} for name in self.files]
            self._send(json.dumps({"id": "owner/sums", "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"{api}/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            self._send(json.dumps(tree).encode())
        elif path.startswith(files):
            data = self.files[path.removeprefix(files)]
            self._send(data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})
        else:
            code = "RevisionNotFound" if path.startswith(api) else "RepoNotFound"
            self._send(b"", {"X-Error-Code": code}, status=404)

    def _send(self, data: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


CODE = """
import json, sys
from headwater.errors import InputError
from headwater.problems.files import FileSource, read_problems
for options in json.loads(sys.argv[1]):
    try:
        labels = read_problems(FileSource(**options))
        first = labels.problems[0]
        print(json.dumps([len(labels.problems), first.source, labels.revision, labels.digest]))
    except InputError as error:
        print(json.dumps(str(error)))
"""


def elsewhere(home: Path, endpoint: str, *sources: dict[str, str]) -> list[Any]:
    """What a fresh process makes of these sources: the hub's address is read from the environment on import."""
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(sources)],
        env={**os.environ, **environment},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One process with the hub, and one after the hub is gone."""
    home = tmp_path_factory.mktemp("home")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    fetched = elsewhere(
        home,
        endpoint,
        {"path": "owner/sums", "config": "main"},
        {"path": "owner/sums", "config": "main", "revision": "v1"},
        {"path": "owner/nothing"},
        {"path": "owner/sums", "revision": "v2"},
    )
    server.shutdown()
    server.server_close()
    offline = elsewhere(home, endpoint, {"path": "owner/sums", "config": "main"}, {"path": "owner/other"})
    yield {"fetched": fetched, "offline": offline, "asked": Hub.asked, "home": home}


def test_a_hub_data_set_is_fetched_and_its_commit_recorded(answers: dict[str, Any], folder: Path) -> None:
    count, source, revision, digest = answers["fetched"][0]
    assert (count, source, revision) == (3, "owner/sums", COMMIT)
    assert digest == read_problems(FileSource(path=str(folder), config="main")).digest
    assert answers["fetched"][1][2] == COMMIT


def test_no_script_and_no_weights_of_a_hub_data_set_are_fetched(answers: dict[str, Any]) -> None:
    assert not [path for path in answers["asked"] if path.endswith((".py", ".bin"))]
    assert not list(answers["home"].rglob("canary"))


def test_what_was_fetched_is_read_again_without_a_network(answers: dict[str, Any]) -> None:
    assert answers["offline"][0] == answers["fetched"][0]


def test_an_unknown_data_set_or_revision_and_a_hub_out_of_reach_are_one_line(answers: dict[str, Any]) -> None:
    unknown, revision, unreachable = *answers["fetched"][2:], answers["offline"][1]
    assert unknown == (
        "problems owner/nothing: no such local file or directory, and the data set cannot be fetched from the hub "
        "(RepositoryNotFoundError); check the id, revision and network, log in with `hf auth login` for a gated one, "
        "or download its .jsonl or .parquet files and give their path"
    )
    assert "the data set at revision 'v2' cannot be fetched from the hub (RevisionNotFoundError)" in revision
    assert "problems: owner/other is no path here" in unreachable
    assert "the hub cannot be reached (" in unreachable
