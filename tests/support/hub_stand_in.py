# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""
A stand-in of the Hub on loopback: as much of its HTTP API as pushing and loading a model take, for the real `huggingface_hub`.

    with HubStandIn() as hub:
        subprocess.run(command, env=hub.environment(home))
    assert hub.unknown == []

It keeps repositories of models with their commits in memory, wants a token where the Hub does, and answers in the Hub's words
and headers. What it does not know it refuses with 501 and lists in `unknown`. It has no xet storage: large files go through
LFS.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import environ
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from support.hub_card_rules import check_card
from support.hub_repository import Commit, File, Repository


TOKEN = "hf_standInOfTheHubMayWrite"
USER, ORGANISATIONS = "someone", ("org",)
LARGE = re.compile(r".*\.(safetensors|bin|pt|pth|npz|tar|gz|zip)|.*/?tokenizer\.model")
GIT_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
NAME = r"(?P<repo>[\w.-]+/[\w.-]+)"


class Refusal(Exception):
    """An answer that is an error: its status, its message and the Hub's code for it."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class HubStandIn:
    """
    The server, within a `with`.

    Attributes:
        url (`str`): Its address, for `HF_ENDPOINT`.
        repositories (`dict[str, Repository]`): What was pushed.
        requests (`list[str]`): Method and path of every request, in order.
        unknown (`list[str]`): Those that no route answers.
        expires_after (`str`): The request, a line of `requests`, with which the token is taken back, if any.
        expired (`bool`): Whether the token has been taken back.
    """

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.requests, self.unknown = [], []
        self.expires_after, self.expired = None, False
        self.uploads: dict[str, bytes] = {}  # LFS objects by their SHA-256
        self.lock = threading.RLock()

    def __enter__(self) -> "HubStandIn":
        handler = type("StandInHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        self.storage = f"http://localhost:{port}"  # another host, as the one that holds the Hub's large files is
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """The environment of a process that takes this for the Hub, with its caches and its login in `home` alone."""
        kept = {name: environ[name] for name in ("PATH", "TMPDIR", "LANG", "LD_LIBRARY_PATH") if name in environ}
        # Where the process may find a proxy for the outside, loopback is not outside.
        own = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
        own |= {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "2", "HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
        return kept | own | ({"HF_TOKEN": token} if token else {})

    def files(self, repo: str) -> dict[str, bytes]:
        """The files of a repository at its last commit."""
        return {path: file.content for path, file in self.repositories[repo].commits[-1].files.items()}


class Handler(BaseHTTPRequestHandler):
    """One connection. A route is a method of this class with a `pattern` for method and path."""

    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        self.query, self.body = parse_qs(split.query), body
        line = f"{self.command} {unquote(split.path)}"
        with self.hub.lock:
            self.hub.requests.append(line)
            try:
                for pattern, route in ROUTES:
                    if match := re.fullmatch(pattern, line):
                        route(self, **match.groupdict())
                        self.hub.expired |= line == self.hub.expires_after
                        return
                self.hub.unknown.append(line)
                raise Refusal(501, f"The stand-in of the Hub has no answer to {line}.")
            except Refusal as refusal:
                headers = {"X-Error-Message": refusal.message} | (
                    {"X-Error-Code": refusal.code} if refusal.code else {}
                )
                self.answer({"error": refusal.message}, refusal.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    def log_message(self, *_):
        pass

    def answer(self, value, status: int = 200, headers: dict[str, str] | None = None):
        """Send JSON, or bytes as they are."""
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
        self.send_response(status)
        for name, text in ({"Content-Type": kind, "Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def user(self) -> str | None:
        """Who asks, or `None` without a token."""
        credentials = self.headers.get("Authorization")
        if credentials is None:
            return None
        if credentials != f"Bearer {TOKEN}" or self.hub.expired:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return USER

    def writable(self, repo: str) -> Repository:
        found = self.readable(repo)
        if self.user is None:
            raise Refusal(401, "Invalid username or password.")
        return found

    def readable(self, repo: str) -> Repository:
        found, user = self.hub.repositories.get(repo), self.user
        if found is None or (found.private and user is None):
            # Without a token the Hub does not tell what is missing from what is private.
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        return found

    def commit_at(self, repo: str, revision: str) -> Commit:
        found = self.readable(repo).at(revision)
        if found is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def whoami(self):
        if self.user is None:
            raise Refusal(401, "Invalid username or password.")
        role = {"displayName": "test", "role": "write"}
        self.answer(
            {
                "type": "user",
                "id": "1",
                "name": USER,
                "orgs": [{"type": "org", "name": name} for name in ORGANISATIONS],
                "auth": {"type": "access_token", "accessToken": role},
            }
        )

    def create(self):
        if self.user is None:
            raise Refusal(401, "Invalid username or password.")
        request = json.loads(self.body)
        owner = request.get("organization") or USER
        if owner not in (USER, *ORGANISATIONS):
            raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{owner}".')
        if request.get("type", "model") != "model":
            raise Refusal(501, "The stand-in of the Hub keeps models only.")
        repo = f"{owner}/{request['name']}"
        answer = {"url": f"{self.hub.url}/{repo}", "name": repo, "id": "1"}
        if repo in self.hub.repositories:
            return self.answer(answer | {"error": "You already created this model repo"}, 409)
        private = request.get("visibility") == "private" or bool(request.get("private"))
        self.hub.repositories[repo] = Repository(private)
        self.hub.repositories[repo].add("initial commit", {".gitattributes": File(GIT_ATTRIBUTES)})
        self.answer(answer)

    def agents(self):
        """Which tools call, as the command `hf` asks for its statistics: none that it need tell."""
        self.answer({})

    def validate(self):
        request = json.loads(self.body)
        errors, warnings = check_card(request["content"])
        answer = {
            "errors": [{"message": text} for text in errors],
            "warnings": [{"message": text} for text in warnings],
        }
        self.answer(answer, 400 if errors else 200)

    def preupload(self, repo, revision):
        self.writable(repo)
        present = self.commit_at(repo, revision).files
        self.answer(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if LARGE.fullmatch(file["path"]) else "regular",
                        "shouldIgnore": False,
                        "oid": present[file["path"]].oid if file["path"] in present else None,
                    }
                    for file in json.loads(self.body)["files"]
                ]
            }
        )

    def lfs_batch(self, repo):
        self.writable(repo)
        request = json.loads(self.body)
        if request["operation"] != "upload" or "basic" not in request["transfers"] or request["hash_algo"] != "sha256":
            raise Refusal(501, "The stand-in of the Hub takes LFS uploads by basic transfer only.")
        objects = []
        for item in request["objects"]:
            known = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.uploads:
                upload = {"href": f"{self.hub.storage}/lfs/{item['oid']}"}
                known["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/{repo}.git/info/lfs/verify"}}
            objects.append(known)
        self.answer({"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "The content does not have the hash that was announced.")
        self.hub.uploads[oid] = self.body
        self.answer(b"")

    def lfs_verify(self, repo):
        self.writable(repo)
        request = json.loads(self.body)
        if len(self.hub.uploads.get(request["oid"], b"")) != request["size"]:
            raise Refusal(404, "There is no such object of that size.")
        self.answer({})

    def commit(self, repo, revision):
        repository = self.writable(repo)
        before = self.commit_at(repo, revision)
        header, *operations = (json.loads(line) for line in self.body.splitlines())
        if header["key"] != "header" or "create_pr" in self.query:
            raise Refusal(501, "The stand-in of the Hub takes commits to a branch, header first.")
        if header["value"].get("parentCommit") not in (None, before.oid):
            raise Refusal(412, "The branch has moved since.")
        files = dict(before.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file" and value["encoding"] == "base64":
                files[value["path"]] = File(base64.b64decode(value["content"]))
            elif operation["key"] == "lfsFile" and value["algo"] == "sha256":
                if value["oid"] not in self.hub.uploads:
                    raise Refusal(400, f"LFS pointer of {value['path']} points to no uploaded file.")
                files[value["path"]] = File(self.hub.uploads[value["oid"]], large=True)
            elif operation["key"] == "deletedFile" and value["path"] in files:
                del files[value["path"]]
            else:
                raise Refusal(
                    501, f"The stand-in of the Hub has no operation {operation['key']!r} for {value['path']}."
                )
        if "README.md" in files and (errors := check_card(files["README.md"].content.decode())[0]):
            raise Refusal(400, "; ".join(errors))
        made = repository.add(header["value"]["summary"], files)
        self.answer({"success": True, "commitOid": made.oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{made.oid}"})

    def info(self, repo, revision="main"):
        found = self.commit_at(repo, revision or "main")
        self.answer(
            {
                "_id": "1",
                "id": repo,
                "modelId": repo,
                "private": self.hub.repositories[repo].private,
                "sha": found.oid,
                "tags": [],
                "siblings": [{"rfilename": path} for path in found.files],
            }
        )

    def tree(self, repo, revision, folder=None):
        """The entries of a folder, or everything below it with `recursive`."""
        found = self.commit_at(repo, revision)
        prefix = f"{folder}/" if folder else ""
        files = {path: file for path, file in found.files.items() if path.startswith(prefix)}
        if folder and not files:
            raise Refusal(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        entries, folders = [], set()
        for path, file in files.items():
            parts = path[len(prefix) :].split("/")
            folders |= {prefix + "/".join(parts[:depth]) for depth in range(1, len(parts))}
            entry = {"type": "file", "path": path, "size": len(file.content), "oid": file.oid}
            if file.large:
                entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
            entries.append(entry)
        entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        if self.query.get("recursive", ["False"])[0].lower() not in ("true", "1"):
            entries = [entry for entry in entries if "/" not in entry["path"][len(prefix) :]]
        self.answer(entries)

    def refs(self, repo):
        oid = self.commit_at(repo, "main").oid
        self.answer(
            {"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": oid}], "converts": [], "tags": []}
        )

    def resolve(self, repo, revision, path):
        """A file; a large one by a redirection to where its content lies."""
        found = self.commit_at(repo, revision)
        file, headers = found.files.get(path), {"X-Repo-Commit": found.oid}
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        if not file.large:
            return self.answer(file.content, headers=headers | {"ETag": f'"{file.oid}"'})
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
        self.answer(b"", 302, headers | {"Location": f"{self.hub.storage}/content/{file.sha256}"})

    def content(self, oid):
        if oid not in self.hub.uploads:
            raise Refusal(404, "There is no such object.")
        self.answer(self.hub.uploads[oid], headers={"ETag": f'"{oid}"'})


ROUTES = [
    (r"GET /api/whoami-v2", Handler.whoami),
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (r"GET /api/agent-harnesses", Handler.agents),
    (rf"POST /api/models/{NAME}/preupload/(?P<revision>.+)", Handler.preupload),
    (rf"POST /api/models/{NAME}/commit/(?P<revision>.+)", Handler.commit),
    (rf"GET /api/models/{NAME}/refs", Handler.refs),
    (rf"GET /api/models/{NAME}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", Handler.tree),
    (rf"GET /api/models/{NAME}(?:/revision/(?P<revision>.+))?", Handler.info),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (rf"POST /{NAME}\.git/info/lfs/verify", Handler.lfs_verify),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_upload),
    (r"(?:GET|HEAD) /content/(?P<oid>[0-9a-f]{64})", Handler.content),
    (rf"(?:GET|HEAD) /{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]
