"""As much of BigQuery's REST API as its client uses for a query, over SQLite, whose SQL is near enough for what ingestion asks."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

PROJECT = "project"
# The database compares times as text, which the client spells one way as a parameter and reads in another.
_CASTS = {"INT64": int, "FLOAT64": float, "DATETIME": lambda text: text[:19].replace(" ", "T")}


class Server:
    """A server with one database; `types` are those of BigQuery by column."""

    def __init__(self, types: dict[str, str]):
        self.types = types
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        self.statements: list[tuple[str, bool]] = []
        self._answers: list[dict[str, Any]] = []

    def insert(self, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Runs a query, or only plans it."""
        configuration = job["configuration"]
        statement, dry = configuration["query"]["query"], bool(configuration.get("dryRun"))
        self.statements.append((statement, dry))
        parameters = {
            given["name"]: _CASTS.get(given["parameterType"]["type"], str)(given["parameterValue"]["value"])
            for given in configuration["query"].get("queryParameters", ())
        }
        try:
            cursor = self.database.execute(statement, parameters)
        except sqlite3.Error as error:
            return 400, {"error": {"code": 400, "message": str(error), "errors": [{"reason": "invalidQuery"}]}}
        types = [self._type(column[0]) for column in cursor.description]
        schema = {"fields": [{"name": column[0], "type": kind} for column, kind in zip(cursor.description, types, strict=True)]}
        reference = {"projectId": PROJECT, "jobId": str(len(self._answers)), "location": "EU"}
        answer = {
            **job,
            "jobReference": reference,
            "status": {"state": "DONE"},
            "statistics": {"query": {"schema": schema, "statementType": "SELECT"}},
        }
        if not dry:
            answer["configuration"]["query"]["destinationTable"] = {
                "projectId": PROJECT,
                "datasetId": "d",
                "tableId": reference["jobId"],
            }
            self._answers.append({"schema": schema, "jobReference": reference, "jobComplete": True, "rows": cursor.fetchall()})
        return 200, answer

    def rows(self, job: str, query: dict[str, str]) -> dict[str, Any]:
        """A page of an answer."""
        answer = self._answers[int(job)]
        start, most = int(query.get("pageToken", 0)), int(query.get("maxResults", 10**9))
        page = answer["rows"][start : start + most]
        end = start + len(page)
        more = {"pageToken": str(end)} if end < len(answer["rows"]) else {}
        cells = [{"f": [{"v": None if value is None else str(value)} for value in row]} for row in page]
        rows = {"rows": cells, **more} if most else {}  # a client that asks for none only wants to know whether it is done
        return {name: value for name, value in answer.items() if name != "rows"} | rows | {"totalRows": str(len(answer["rows"]))}

    def _type(self, column: str) -> str:
        if maximum := re.fullmatch(r"MAX\(`(\w+)`\)", column):
            column = maximum[1]
        return self.types.get(column, "INTEGER")


@contextlib.contextmanager
def serve(server: Server) -> Iterator[str]:
    """Yields the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*server.insert(job))

        def do_GET(self) -> None:
            url = urllib.parse.urlparse(self.path)
            query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
            found = re.search(r"/(?:queries|tables|jobs)/(\d+)", url.path)
            assert found, self.path
            self._answer(200, server.rows(found[1], query))

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()
