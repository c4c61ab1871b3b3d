"""The sandbox as an HTTP server: reads calls, lets the desk answer, misbehaves where told to.

Below `/api/v1/` it speaks the REST dialect, on any other path the panel dialect: one shop, one
memory. `/_control` is its own remote control, for other processes: on loopback only and with the
key in `X-API-Key`.
"""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from hmac import compare_digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socketserver import TCPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import structlog

from catalog.sandbox.delivery import CANCELED, COMPLETED, FAILED, PARTIAL, REJECTED, Habits
from catalog.sandbox.desk import Desk
from catalog.sandbox.menu import menu
from catalog.sandbox.misbehaviour import Kind, Misbehaviour, Queue
from catalog.sandbox.replies import Ending, Reply, plain
from catalog.sandbox.rest_desk import PREFIX, Request, RestDesk, route
from catalog.sandbox.shop import Shop
from catalog.sandbox.spoiling import Face, Spoilt, spoil
from catalog.sandbox.state import FIRST_ORDER, State, Taken

log = structlog.get_logger(__name__)

LARGEST_BODY = 1024 * 1024
CALLS_KEPT = 10_000


class Sandbox:
    """A sandbox provider: made over a state file, started on a port, told what to do.

    `speed` is sandbox seconds per real second (0: time stands still, `advance` moves it). The
    methods below may be called from any thread while it serves.
    """

    def __init__(
        self, data: Path, *, key: str, services: int, speed: float, habits: Habits
    ) -> None:
        self.key = key
        self.calls: deque[Mapping[str, str]] = deque(maxlen=CALLS_KEPT)  # parameters, key left out
        self._state = State(data, speed=speed)
        shop = Shop(menu=menu(services), state=self._state, habits=habits)
        self._desk, self._rest = Desk(shop), RestDesk(shop)
        self._queue = Queue()
        self._let_go = Event()  # ends the waiting of the calls that hang now
        self._server: _Server | None = None
        self._thread: Thread | None = None

    # --- running -----------------------------------------------------------------------------

    def start(self, host: str, port: int) -> None:
        """Serve in threads of its own until `stop`. Raises OSError when the port is taken."""
        self._server = _Server((host, port), self)
        self._let_go = Event()
        self._thread = Thread(
            target=self._server.serve_forever, args=(0.05,), name="sandbox", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection, hanging ones too. It may be started again."""
        self._let_go.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.hang_up()
            self._server.server_close()
            self._server = self._thread = None

    def close(self) -> None:
        """Stop for good: the state file is closed too, ready for another sandbox."""
        self.stop()
        self._state.close()

    @property
    def url(self) -> str:
        """The panel dialect's address, for a provider row."""
        return f"{self._address}/api/v2"

    @property
    def rest_url(self) -> str:
        """The REST dialect's address, for a provider row."""
        return f"{self._address}/api/v1"

    @property
    def _address(self) -> str:
        assert self._server is not None
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    # --- telling it what to do ---------------------------------------------------------------

    def misbehave(
        self,
        action: str,
        kind: Kind,
        *,
        times: int | None = None,
        every: int | None = None,
        **details: Any,
    ) -> None:
        """Let calls of an action ("*": of any) go wrong, in either dialect.

        The next `times` calls (one if not told), or, with `every`, each so-manieth from now on,
        `times` times or until `behave`. `details`: see Misbehaviour. Raises ValueError.
        """
        how = Misbehaviour(Kind(kind), **details)
        if every is None:
            self._queue.put(action, how, times=1 if times is None else times)
        else:
            self._queue.put_every(action, how, every=every, times=times)

    def answer(self, action: str, body: object, *, status: int = 200, times: int = 1) -> None:
        """Answer the next calls of an action with this body (text as it stands, else as JSON)
        without doing anything."""
        text = body if isinstance(body, str) else json.dumps(body)
        self.misbehave(action, Kind.ANSWER, body=text, status=status, times=times)

    def behave(self) -> None:
        """Forget the misbehaviours that wait, and let hanging calls go."""
        self._queue.clear()
        let_go, self._let_go = self._let_go, Event()
        let_go.set()

    def advance(self, seconds: float) -> None:
        """Let sandbox seconds pass at once. A day ends every order that is not drip-fed."""
        self._state.advance(seconds)

    def set_speed(self, speed: float) -> None:
        """Sandbox seconds per real second from now on."""
        self._state.set_speed(speed)

    def set_balance(self, amount: Decimal | int | str) -> None:
        """Make our balance at the sandbox this many USD."""
        self._state.set_balance(Decimal(amount))

    def complete(self, order_id: int | str) -> None:
        """Deliver the order to its end now."""
        self._state.end(int(order_id), ending=COMPLETED, undelivered=0)

    def end_partial(self, order_id: int | str, *, remains: int) -> None:
        """End the order now with this many units undelivered; their money is paid back."""
        self._state.end(int(order_id), ending=PARTIAL, undelivered=remains)

    def cancel(self, order_id: int | str) -> None:
        """End the order now as canceled; its money is paid back."""
        self._state.end(int(order_id), ending=CANCELED, undelivered=self._order(order_id).total)

    def fail(self, order_id: int | str) -> None:
        """End the order now as failed; its money is paid back."""
        self._state.end(int(order_id), ending=FAILED, undelivered=self._order(order_id).total)

    def reject_refill(self, refill_id: int | str) -> None:
        """End an open refill now, Rejected."""
        self._state.end_refill(int(refill_id), ending=REJECTED)

    def complete_refill(self, refill_id: int | str) -> None:
        """End an open refill now, Completed."""
        self._state.end_refill(int(refill_id), ending=COMPLETED)

    def say(self, order_id: int | str, **answer: Any) -> None:
        """Let the order's status answer hold these values over the truth (`status="Partial"`,
        `remains="-3"`, …), with no money moved; nothing given: the truth again."""
        self._state.say(int(order_id), answer)

    # --- looking on --------------------------------------------------------------------------

    @property
    def balance(self) -> Decimal:
        """Our balance at the sandbox, USD."""
        return self._state.balance()

    @property
    def orders(self) -> list[Taken]:
        """Every order it has accepted, oldest first: proves what was bought, and how often."""
        return self._state.orders()

    def wait_for_orders(self, count: int, *, timeout: float = 10) -> bool:
        """Wait until it has accepted that many orders; False when the seconds ran out."""
        return self._state.wait_for_orders(count, timeout=timeout)

    def _order(self, order_id: int | str) -> Taken:
        return self._state.find([int(order_id)])[int(order_id)]

    # --- answering ---------------------------------------------------------------------------

    def reply(self, parameters: dict[str, str]) -> Reply:
        """The reply to one call of the panel dialect, when it is time for it."""
        if not self._knows(parameters.pop("key", "")):
            return plain({"error": "Invalid API key"})

        def act() -> tuple[Any, Reply]:
            answer = self._desk.answer(parameters)
            return answer, plain(answer)

        return self._reply(parameters.get("action", ""), parameters, self._desk, act)

    def rest_reply(self, request: Request, *, key: str) -> Reply:
        """The reply to one call of the REST dialect, when it is time for it."""
        if not self._knows(key):
            return self._rest.unauthorised()

        def act() -> tuple[Any, Reply]:
            status, answer, headers = self._rest.answer(request)
            return answer, plain(answer, status=status, headers=headers)

        return self._reply(request.action, request.parameters, self._rest, act)

    def unreadable_rest_reply(self) -> Reply:
        """The reply to a REST call whose body is no JSON object."""
        return self._rest.unreadable()

    def _knows(self, key: str) -> bool:
        return compare_digest(key.encode(), self.key.encode())

    def _reply(
        self,
        action: str,
        parameters: Mapping[str, str],
        face: Face,
        act: Callable[[], tuple[Any, Reply]],
    ) -> Reply:
        self.calls.append(dict(parameters))
        # Fetched before the call takes effect: whoever sees the effect may let it go at once.
        let_go = self._let_go
        how = self._queue.take(action)
        answer, reply = act() if how is None or how.lets_act else ({}, Reply())
        if how is not None:
            reply = spoil(Spoilt(how, face, reply, answer, FIRST_ORDER))
        log.info(
            "sandbox_call",
            action=action,
            misbehaviour=how.kind if how else None,
            status=reply.status,
        )
        if reply.ending is Ending.HANG:
            let_go.wait()
        elif reply.delay:
            let_go.wait(reply.delay)
        return reply

    def control(self, order: Mapping[str, Any]) -> object:
        """Carry out a remote command: an object with some of `misbehave`, `behave`, `advance`,
        `speed`, `balance`. Raises ValueError for one that cannot be understood."""
        if not order or order.keys() - {"misbehave", "behave", "advance", "speed", "balance"}:
            raise ValueError("the command cannot be understood")
        try:
            if (misbehave := order.get("misbehave")) is not None:
                self.misbehave(misbehave.pop("action"), misbehave.pop("kind"), **misbehave)
            if order.get("behave"):
                self.behave()
            if "advance" in order:
                self.advance(float(order["advance"]))
            if "speed" in order:
                self.set_speed(float(order["speed"]))
            if "balance" in order:
                self.set_balance(str(order["balance"]))
        except (AttributeError, KeyError, TypeError, InvalidOperation) as error:
            raise ValueError("the command cannot be understood") from error
        return {"ok": True}


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for the calls under way
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._open: set[socket.socket] = set()
        self._open_lock = Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the DNS for the host's full name, which nobody here needs.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().close_request(request)

    def shutdown_request(self, request: Any) -> None:
        # The library's own sends a polite FIN first, and a reset would not be one.
        self.close_request(request)

    def hang_up(self) -> None:
        """End the connections that are still open; their threads then end by themselves."""
        with self._open_lock:
            still_open = list(self._open)
        for connection in still_open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client has left meanwhile

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away (a time-out under test, a killed worker) is no error of ours.
        log.info("sandbox_connection_lost", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "panel", ""
    timeout = 75
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        if self.path.startswith("/_control"):
            self._control({})
        elif self.path.startswith(PREFIX):
            self._rest({})
        else:
            self._send(self.server.sandbox.reply(self._query()))

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        try:
            parameters = self._parameters(body)
        except ValueError:
            rest = self.path.startswith(PREFIX)
            unreadable = self.server.sandbox.unreadable_rest_reply
            self._send(unreadable() if rest else plain({"error": "Incorrect request"}))
            return
        if self.path.startswith("/_control"):
            self._control(parameters)
            return
        if self.path.startswith(PREFIX):
            self._rest(parameters)
            return
        texts = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in parameters.items()
        }
        self._send(self.server.sandbox.reply({**self._query(), **texts}))

    def _query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query))

    def _rest(self, body: dict[str, Any]) -> None:
        query = self._query()
        action, target = route(self.command, urlsplit(self.path).path)
        if action == "status" and "client_ref" in query:
            action = "find"
        request = Request(
            action=action,
            target=target,
            query=query,
            body=body,
            idempotency_key=self.headers.get("Idempotency-Key", ""),
        )
        self._send(self.server.sandbox.rest_reply(request, key=self._given_key()))

    def _given_key(self) -> str:
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.headers.get("X-API-Key", "") or bearer

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            self.close_connection = True
            self._send(plain({"error": "Incorrect request"}, status=413))
            return None
        return self.rfile.read(int(length))

    def _parameters(self, body: bytes) -> dict[str, Any]:
        """The parameters of a form or a JSON object. Raises ValueError."""
        if self.headers.get_content_type() != "application/json":
            return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        parameters = json.loads(body)
        if not isinstance(parameters, dict):
            raise ValueError("not an object")
        return parameters

    def _control(self, order: dict[str, Any]) -> None:
        sandbox = self.server.sandbox
        key = self.headers.get("X-API-Key", "")
        if not ip_address(self.client_address[0]).is_loopback or not compare_digest(
            key.encode(), sandbox.key.encode()
        ):
            self._send(plain({"error": "Forbidden"}, status=403))
        elif self.command == "POST":
            try:
                self._send(plain(sandbox.control(order)))
            except ValueError as error:
                self._send(plain({"error": str(error)}, status=400))
        elif self.path == "/_control/orders":
            self._send(plain([_as_json(order) for order in sandbox.orders]))
        else:
            self._send(plain({"error": "Not found"}, status=404))

    def _send(self, reply: Reply) -> None:
        if reply.ending is Ending.HANG:
            self.close_connection = True
            return
        if reply.ending is Ending.RESET:
            # Closing with a linger time of zero sends RST instead of a polite end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent: the line would hold the query, and with it the key."""


def _as_json(order: Taken) -> dict[str, Any]:
    return {
        "order": order.id,
        "service": order.service,
        "link": order.link,
        "fields": dict(order.fields),
        "quantity": order.total,
        "cost": f"{order.cost:f}",
        "status": order.status,
    }
