"""Sessions of requests and requests-ntlm, remote-controlled.

Reads one JSON request a line and writes one JSON answer a line:
    {"open": NAME, "user": USER or null, "password": PASSWORD}
    {"get": URL, "session": NAME}
    {"post": URL, "session": NAME, "body": FILE, "page": FILE for the answer}
    {"close": NAME}
"""

import json
import sys
from pathlib import Path

import requests
from requests_ntlm import HttpNtlmAuth

SECONDS = 30
certificate = sys.argv[1]
sessions = {}


def open_session(name, user, password):
    session = requests.Session()
    session.trust_env = False
    session.verify = certificate
    if user:
        session.auth = HttpNtlmAuth(user, password)
    sessions[name] = session
    return {}


def send(name, method, url, body=None, page=None):
    try:
        response = sessions[name].request(method, url, data=body, timeout=SECONDS)
    # requests-ntlm raises PermissionError when the server offers no challenge.
    except (requests.RequestException, PermissionError) as error:
        return {"error": repr(error)}
    if page:
        Path(page).write_bytes(response.content)
    user, connection = asked_by(response)
    return {
        "statuses": [r.status_code for r in (*response.history, response)],
        "user": user,
        "connection": connection,
    }


def asked_by(response):
    """Whom the server takes the client for, and on which connection: Apache's headers say it, or the mock's page."""
    if response.headers.get("Content-Type") == "application/json":
        page = response.json()
        return page["user"], str(page["connection"])
    return response.headers.get("X-User", ""), response.headers.get("X-Client-Port", "")


def close(name):
    sessions.pop(name).close()
    return {}


for line in sys.stdin:
    request = json.loads(line)
    if "open" in request:
        answer = open_session(request["open"], request["user"], request["password"])
    elif "get" in request:
        answer = send(request["session"], "GET", request["get"])
    elif "post" in request:
        body = Path(request["body"]).read_bytes()
        answer = send(request["session"], "POST", request["post"], body, request["page"])
    else:
        answer = close(request["close"])
    print(json.dumps(answer), flush=True)
