import contextlib
import gzip
import http.client
import io
import json
import logging
import pathlib
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import pytest

from serving.server.http_server import HttpLimits, HttpResponse, HttpServer

PROJECT = pathlib.Path(__file__).resolve().parents[3]
LIMITS = HttpLimits(
    body_bytes=100_000, buffered_bytes=250_000, head_bytes=8000, head_seconds=1.0, stall_seconds=1.0, idle_seconds=3.0
)


def echo(request):
    """Answers with what was asked."""
    if request.path == "/fail":
        raise RuntimeError("secret")
    if request.path == "/large":
        return HttpResponse(200, b"x" * 5_000_000, "text/plain")
    if request.path == "/slow":
        time.sleep(0.5)
    said = {"verb": request.verb, "path": request.path, "body": request.body.decode("latin-1")}
    return HttpResponse(200, json.dumps(said).encode(), headers=(("X-More", "yes"),))


@pytest.fixture
def serve():
    servers = []

    def start(limits=LIMITS, threads=2, handler=echo):
        servers.append(HttpServer(handler, "127.0.0.1", 0, threads=threads, limits=limits))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(serve):
    return serve()


def connect(server):
    link = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def answer(link, verb="GET"):
    """Reads one answer and not a byte of the next: status, headers, body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = link.recv(1)
        if not byte:
            raise ConnectionError("the server ended the connection")
        head += byte
    status_line, _, rest = head.partition(b"\r\n")
    headers = http.client.parse_headers(io.BytesIO(rest))
    body = b""
    while verb != "HEAD" and len(body) < int(headers["Content-Length"]):
        received = link.recv(int(headers["Content-Length"]) - len(body))
        assert received, "the server ended the connection within an answer"
        body += received
    return int(status_line.split()[1]), headers, body


def ask(server, request, verb="GET"):
    with connect(server) as link:
        link.sendall(request)
        return answer(link, verb)


def post(body, *headers, path="/p"):
    lines = [f"POST {path} HTTP/1.1", "Host: h", *headers]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def body_of(reply):
    assert reply[0] == 200, reply
    return json.loads(reply[2])["body"]


class TestRequests:
    def test_a_request_and_its_answer(self, server):
        status, headers, body = ask(server, b"GET /a/b?c=d HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (status, json.loads(body)) == (200, {"verb": "GET", "path": "/a/b", "body": ""})
        assert (headers["Content-Type"], headers["X-More"]) == ("application/json", "yes")
        assert headers["Date"]

    def test_an_absolute_target(self, server):
        reply = ask(server, b"GET http://host:1/a HTTP/1.1\r\nHost: h\r\n\r\n")
        assert json.loads(reply[2])["path"] == "/a"

    def test_byte_by_byte(self, server):
        with connect(server) as link:
            for byte in post(b"hello"):
                link.sendall(bytes([byte]))
            assert body_of(answer(link)) == "hello"

    def test_chunks(self, server):
        chunks = b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: t\r\n\r\n"
        message = post(chunks, "Transfer-Encoding: chunked")
        assert body_of(ask(server, message)) == "hello"
        with connect(server) as link:
            for byte in message + post(b"next"):
                link.sendall(bytes([byte]))
            assert body_of(answer(link)) == "hello"
            assert body_of(answer(link)) == "next"

    def test_gzip(self, server):
        assert body_of(ask(server, post(gzip.compress(b"hello", mtime=0), "Content-Encoding: gzip"))) == "hello"

    def test_head_has_no_body(self, server):
        with connect(server) as link:
            link.sendall(b"HEAD /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
            status, headers, body = answer(link, "HEAD")
            assert (status, body) == (200, b"")
            assert int(headers["Content-Length"]) > 0
            assert json.loads(answer(link)[2])["path"] == "/b"

    def test_expectations(self, server):
        with connect(server) as link:
            link.sendall(b"POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert link.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            link.sendall(b"hello")
            assert body_of(answer(link)) == "hello"

    def test_a_large_answer_to_a_slow_reader(self, server):
        with connect(server) as link:
            link.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            time.sleep(0.3)
            assert len(answer(link)[2]) == 5_000_000

    def test_the_client_may_end_its_side_first(self, server):
        with connect(server) as link:
            link.sendall(post(b"hello"))
            link.shutdown(socket.SHUT_WR)
            assert body_of(answer(link)) == "hello"


class TestConnections:
    def test_stay_open(self, server):
        with connect(server) as link:
            for number in range(50):
                link.sendall(post(str(number).encode()))
                assert body_of(answer(link)) == str(number)

    def test_pipelined_requests_are_answered_in_order(self, server):
        with connect(server) as link:
            link.sendall(b"".join(post(str(number).encode()) for number in range(100)))
            with link.makefile("rb") as file:
                received = b""
                while received.count(b'"body"') < 100:
                    received += file.read1(65536)
        bodies = [part.split(b'"')[0] for part in received.split(b'"body": "')[1:]]
        assert bodies == [str(number).encode() for number in range(100)]

    def test_close_when_asked(self, server):
        with connect(server) as link:
            link.sendall(b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert answer(link)[1]["Connection"] == "close"
            assert link.recv(1) == b""

    def test_http_1_0(self, server):
        with connect(server) as link:
            link.sendall(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert answer(link)[1]["Connection"] == "keep-alive"
            link.sendall(b"GET /a HTTP/1.0\r\n\r\n")
            assert answer(link)[1]["Connection"] == "close"
            assert link.recv(1) == b""

    def test_a_thousand_idle_ones_disturb_nobody(self, serve):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2500:
            pytest.skip("this system allows too few open files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2500), hard))
        server = serve()
        threads = threading.active_count()
        idle = [connect(server) for _ in range(1000)]
        try:
            for link in idle[::2]:
                link.sendall(b"GET /never-ending")
            assert body_of(ask(server, post(b"hello"))) == "hello"
            assert threading.active_count() == threads
            idle[1].sendall(post(b"still there"))
            assert body_of(answer(idle[1])) == "still there"
        finally:
            for link in idle:
                link.close()

    def test_the_one_idle_for_longest_makes_room(self, serve):
        server = serve(HttpLimits(connections=3))
        links = [connect(server) for _ in range(3)]
        for link in links:
            link.sendall(post(b"hello"))
            assert body_of(answer(link)) == "hello"
            time.sleep(0.05)  # for the server to be done with it
        assert body_of(ask(server, post(b"one more"))) == "one more"
        assert links[0].recv(1) == b""
        links[2].sendall(post(b"hello"))
        assert body_of(answer(links[2])) == "hello"
        for link in links:
            link.close()

    def test_too_many_for_the_system_are_survived(self):
        script = (
            "import resource, sys\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))\n"
            "from serving.server.http_server import HttpResponse, HttpServer\n"
            "server = HttpServer(lambda request: HttpResponse(200, b'{}'), '127.0.0.1', 0, threads=2)\n"
            "server.start()\n"
            "print(server.port, flush=True)\n"
            "sys.stdin.read()\n"
        )
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) as process:
            port = int(process.stdout.readline())
            links = []
            for _ in range(100):
                links.append(socket.create_connection(("127.0.0.1", port), timeout=20))
            links[-1].sendall(post(b"hello"))
            assert answer(links[-1])[0] == 200
            for link in links:
                link.close()
            process.stdin.close()

    def test_slow_ones_are_cut_off(self, server):
        slow_head, slow_body = connect(server), connect(server)
        slow_body.sendall(b"POST /p HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
        with slow_head, slow_body:
            started = time.monotonic()
            ended = set()
            while len(ended) < 2 and time.monotonic() - started < 8:
                try:
                    slow_head.sendall(b"G")  # however steadily it drips
                except OSError:
                    ended.add("head")
                slow_body.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    ended.add("body") if slow_body.recv(1) == b"" else None
        assert ended == {"head", "body"}

    def test_resets_do_no_harm(self, server):
        for _ in range(20):
            link = connect(server)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            link.close()
        assert body_of(ask(server, post(b"hello"))) == "hello"


class TestRefusals:
    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
            (b"GET /\r\n\r\n", 400),
            (b"GET  / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\n\r\n", 505),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nA : x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
            (b"GET /" + b"a" * 9000, 431),
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
            (post(b"", "Content-Length: -1"), 400),
            (post(b"", "Content-Length: 1_0"), 400),
            (post(b"", "Content-Length: 1", "Content-Length: 2"), 400),
            (post(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
            (post(b"", "Transfer-Encoding: gzip, chunked"), 501),
            (post(b"x\r\n", "Transfer-Encoding: chunked"), 400),
            (post(b"1\r\nabc", "Transfer-Encoding: chunked"), 400),
            (post(b"-1\r\n", "Transfer-Encoding: chunked"), 400),
            (post(b"1" * 2000, "Transfer-Encoding: chunked"), 400),
            (post(b"FFFFFFFF\r\n", "Transfer-Encoding: chunked"), 413),
            (post(b"", "Content-Length: 100001"), 413),
            (post(b"", "Expect: tea"), 417),
            (post(b"x", "Content-Encoding: br"), 415),
            (post(b"x", "Content-Encoding: gzip"), 400),
            (post(gzip.compress(b"hello", mtime=0)[:-9], "Content-Encoding: gzip"), 400),
            (post(gzip.compress(b"0" * 10_000_000, mtime=0), "Content-Encoding: gzip"), 413),
        ],
    )
    def test_status(self, server, request_, status):
        with connect(server) as link:
            link.sendall(request_)
            found, headers, body = answer(link)
            assert found == status
            assert headers["Connection"] == "close"
            assert json.loads(body)["error"]

    def test_a_client_that_goes_on_sending_reads_the_refusal(self, server):
        with connect(server) as link:
            link.sendall(b"POST /p HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000)
            assert answer(link)[0] == 413

    def test_bodies_together_are_limited(self, server):
        head = b"POST /p HTTP/1.1\r\nContent-Length: 99999\r\n\r\n"
        links = [connect(server) for _ in range(3)]
        for link in links:
            link.sendall(head + b"x" * 90_000)
        statuses = []
        for link in links:
            link.settimeout(0.5)
            try:
                statuses.append(answer(link)[0])
            except TimeoutError:
                link.settimeout(10)
                link.sendall(b"x" * 9_999)
                statuses.append(answer(link)[0])
            link.close()
        assert sorted(statuses) == [200, 200, 503]
        assert body_of(ask(server, post(b"y" * 90_000))) == "y" * 90_000

    def test_a_handler_that_fails(self, server, caplog):
        with caplog.at_level(logging.ERROR):
            status, _, body = ask(server, b"GET /fail HTTP/1.1\r\n\r\n")
        assert (status, json.loads(body)) == (500, {"error": "Internal error"})
        assert "RuntimeError" in caplog.text
        assert "secret" not in caplog.text

    def test_noise_does_no_harm(self, server):
        noise = zlib.compress(bytes(range(256)) * 50) * 10
        for start in range(0, 300, 7):
            with connect(server) as link:
                link.sendall(noise[start:] + b"\r\n\r\n")
        assert body_of(ask(server, post(b"hello"))) == "hello"

    def test_a_taken_port(self, server):
        second = HttpServer(echo, "127.0.0.1", server.port, threads=1)
        with pytest.raises(OSError, match="in use"):
            second.start()


class TestDraining:
    def test_finishes_what_was_accepted(self, serve):
        server = serve(threads=4)
        in_progress, half_sent, idle = connect(server), connect(server), connect(server)
        # Answered before the draining begins: a request that crosses the end of an idle connection is nobody's.
        idle.sendall(post(b"c"))
        assert body_of(answer(idle)) == "c"
        in_progress.sendall(post(b"a", path="/slow"))
        half_sent.sendall(post(b"12345")[:-2])
        time.sleep(0.1)
        finished = []
        stopping = threading.Thread(target=lambda: finished.append(server.drain(5.0)))
        stopping.start()
        time.sleep(0.2)
        half_sent.sendall(b"45")
        for link, said in ((in_progress, "a"), (half_sent, "12345")):
            reply = answer(link)
            assert body_of(reply) == said
            assert reply[1]["Connection"] == "close"
        for link in (in_progress, half_sent, idle):
            assert link.recv(1) == b""
            link.close()
        stopping.join()
        assert finished == [True]
        with pytest.raises(OSError, match="refused"):
            connect(server)

    def test_loses_nothing_under_load(self, serve):
        server = serve(threads=4)
        stop, lost, done = threading.Event(), [], []

        def call():
            while not stop.is_set():
                try:
                    link = connect(server)
                except OSError:
                    return
                with link:
                    try:
                        for _ in range(20):
                            link.sendall(post(b"hello"))
                            reply = answer(link)
                            assert body_of(reply) == "hello"
                            done.append(1)
                            if reply[1]["Connection"] == "close":
                                break
                    except (OSError, AssertionError) as error:
                        lost.append(repr(error))

        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        time.sleep(0.5)
        assert server.drain(10.0)
        stop.set()
        for caller in callers:
            caller.join()
        assert done
        assert lost == []

    def test_gives_up_in_time(self, server):
        with connect(server) as link:
            link.sendall(post(b"12345")[:-2])
            time.sleep(0.1)
            started = time.monotonic()
            assert not server.drain(0.3)
            assert time.monotonic() - started < 3

    def test_idle_connections_do_not_hold_it_up(self, server):
        with connect(server) as link:
            link.sendall(post(b"hello"))
            answer(link)
            started = time.monotonic()
            assert server.drain(10.0)
            assert time.monotonic() - started < 3
            assert link.recv(1) == b""
