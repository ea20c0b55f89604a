"""A model goes to a hub as one commit with its card: against a stand-in of its HTTP interface."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.errors import InputError, IntegrityError
from headwater.evaluation.estimate import average_at_k
from headwater.export.card import Said, model_card
from headwater.export.push import push
from headwater.folder import RunFolder
from micro import Finished, finished


class Hub(ThreadingHTTPServer):
    """Repositories in memory: what was created, and the files of every commit."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.refuse = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """The calls that a push makes."""

    server: Hub

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self, value: Any, code: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = b""
            while size := int(self.rfile.readline(), 16):
                parts += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return parts
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        self.answer({"id": "me/small", "sha": "0" * 40, "siblings": []})

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self.body()
        self.answer({})

    def do_POST(self) -> None:
        hub, data = self.server, self.body()
        if hub.refuse:
            self.answer({"error": "You don't have the rights to create a model under this namespace"}, 403)
        elif self.path == "/api/repos/create":
            hub.created.append(json.loads(data))
            self.answer({"url": f"{hub.url}/me/small", "id": "me/small"})
        elif "/preupload/" in self.path:
            files = json.loads(data)["files"]
            self.answer(
                {"files": [{"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False} for f in files]}
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(data)["objects"]
            answers = [
                {"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{hub.url}/large/{o['oid']}"}}}
                for o in objects
            ]
            self.answer({"transfer": "basic", "objects": answers})
        elif "/commit/" in self.path:
            self.commit([json.loads(line) for line in data.splitlines()])
        else:
            self.answer({})

    def commit(self, lines: list[dict[str, Any]]) -> None:
        hub = self.server
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                hub.messages.append(value["summary"])
            elif line["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.large[value["oid"]]
        url = f"{hub.url}/me/small/commit/{'1' * 40}"
        self.answer({"commitUrl": url, "commitOid": "1" * 40, "success": True})


def mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, to which the client is turned."""
    from huggingface_hub import constants

    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        for name, value in {"ENDPOINT": server.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(constants, name, value)
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


@pytest.mark.usefixtures("hub")
def test_the_model_arrives_byte_for_byte_with_a_card_in_one_commit(hub: Hub, made: Finished) -> None:
    folder = made.folder
    arm = folder.arm("R7")
    address = push(folder, arm, "me/small", Said(base_model="owner/base", licence="apache-2.0"))
    assert address == f"{hub.url}/me/small/commit/{'1' * 40}"
    assert hub.created[0]["name"] == "small" and "private" in json.dumps(hub.created[0])
    assert hub.messages == ["headwater: micro, R7, seed 0"]
    source = folder.model(arm)
    kept = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file() and path.name != "README.md"}
    assert {name: data for name, data in hub.files.items() if name != "README.md"} == kept
    assert "model.safetensors" in kept
    assert not [data for data in hub.files.values() if b"hf_secret" in data]


def test_the_card_has_what_hubs_read(made: Finished) -> None:
    folder, arm = made.folder, made.folder.arm("R7")
    card = model_card(folder, arm, Said(base_model="owner/base", licence="apache-2.0"))
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["base_model"], head["license"], head["library_name"]) == ("owner/base", "apache-2.0", "transformers")
    scores = json.loads(folder.result(arm["evaluation"]["held-out"], "scores.json") or b"")
    average = average_at_k(scores["correct"], scores["samples"])
    found = head["model-index"][0]["results"][0]
    assert found["metrics"] == [{"type": "avg@2", "value": pytest.approx(100 * average.mean, abs=0.01)}]
    assert str(average) in card
    assert "| teacher-rl on 1H | teacher | 8 |" in card  # 16 labels, one half
    assert "| warm-up on 1H | student | 0 |" in card


def test_huggingface_reads_the_card(made: Finished) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(made.folder, made.folder.arm("R7"), Said()))
    assert card.data.eval_results[0].metric_type == "avg@2"
    assert card.data.license is None


@pytest.mark.usefixtures("hub")
def test_a_refusal_of_the_hub_is_one_line(hub: Hub, made: Finished) -> None:
    hub.refuse = True
    with pytest.raises(InputError, match=r"the hub refused me/small .*hf auth login"):
        push(made.folder, made.folder.arm("R7"), "me/small", Said())
    assert not hub.files


@pytest.mark.usefixtures("hub")
def test_what_is_no_hub_id_or_has_no_adapter_is_refused_before_anything_is_sent(hub: Hub, made: Finished) -> None:
    with pytest.raises(InputError, match="is no hub id; write owner/name"):
        push(made.folder, made.folder.arm("R7"), "small", Said())
    with pytest.raises(InputError, match="R7 has no adapter"):
        push(made.folder, made.folder.arm("R7"), "me/small", Said(), adapter=True)
    with pytest.raises(InputError, match=r"no arm R5-hal \(did you mean R5-half\?\)"):
        made.folder.arm("R5-hal")
    assert not hub.created


@pytest.mark.usefixtures("hub")
def test_a_damaged_model_is_never_sent(hub: Hub, made: Finished, tmp_path: Path) -> None:
    import shutil

    folder = RunFolder(Path(shutil.copytree(made.root, tmp_path / "micro")))
    with (folder.model(folder.arm("R7")) / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(IntegrityError, match="differs from its commit"):
        push(folder, folder.arm("R7"), "me/small", Said())
    assert not hub.created
