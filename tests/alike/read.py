"""read.py requests|replies: what h11 (and http.client) take bytes for. JSON in, JSON out; bytes are text in Latin-1."""

import http.client
import io
import json
import sys

import h11


def field(headers, name):
    return ", ".join(value.decode("latin-1") for key, value in headers if key == name)


def read_requests(stream):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    seen = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                seen.append({
                    "method": event.method.decode("latin-1"),
                    "target": event.target.decode("latin-1"),
                    "host": field(event.headers, b"host"),
                    "authorization": field(event.headers, b"authorization"),
                    "body_bytes": 0,
                    "is_refused": False,
                })
            elif isinstance(event, h11.Data):
                seen[-1]["body_bytes"] += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    break
                connection.start_next_cycle()
            else:
                if event is not h11.NEED_DATA or connection.their_state is not h11.IDLE:
                    # Half a request.
                    seen.append(wrong("half"))
                break
    except h11.RemoteProtocolError as error:
        seen.append(wrong(str(error)))
    return seen


def wrong(why):
    return {"method": why, "target": "", "host": "", "authorization": "", "body_bytes": None, "is_refused": True}


def h11_replies(method, stream):
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    replies = []

    def ask(method):
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())

    ask(method)
    connection.receive_data(stream)
    connection.receive_data(b"")
    reply = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                fields = ["%s: %s" % (key.decode("latin-1"), value.decode("latin-1")) for key, value in event.headers]
                reply = {"status": event.status_code, "body": "", "fields": fields}
            elif isinstance(event, h11.Data):
                reply["body"] += bytes(event.data).decode("latin-1")
            elif isinstance(event, h11.EndOfMessage):
                replies.append(reply)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
                ask("GET")
            elif not isinstance(event, h11.InformationalResponse):
                break
    except h11.RemoteProtocolError:
        pass
    return replies


class Socket:
    """As much of a socket as http.client wants; the stream goes on behind one reply."""

    def __init__(self, stream):
        self.file = io.BytesIO(stream)
        self.file.close = lambda: None

    def makefile(self, mode):
        return self.file


def http_client_replies(method, stream):
    socket = Socket(stream)
    replies = []
    try:
        while True:
            response = http.client.HTTPResponse(socket, method=method)
            response.begin()
            body = response.read()
            fields = ["%s: %s" % (key.lower(), value) for key, value in response.getheaders()]
            replies.append({"status": response.status, "body": body.decode("latin-1"), "fields": fields})
            if response.will_close:
                break
            method = "GET"
    except (http.client.HTTPException, ValueError, OSError):
        pass
    return replies


cases = json.load(sys.stdin)
if sys.argv[1] == "requests":
    result = [read_requests(case.encode("latin-1")) for case in cases]
else:
    result = [
        {"h11": h11_replies(method, stream.encode("latin-1")),
         "http.client": http_client_replies(method, stream.encode("latin-1"))}
        for method, stream in cases
    ]
json.dump(result, sys.stdout)
