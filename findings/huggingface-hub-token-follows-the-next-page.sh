#!/bin/sh
# huggingface_hub 2.4.0 sends the user's token to whatever host a listing's `Link: <...>; rel="next"` names.
#
# Why one guesses otherwise: of a redirect to another origin the same client drops the token. Pages are no redirects: the next one is asked for with
# the headers of the first, so a mirror or a proxy in the listing's way gets the token sent to any host by one header.
#
# What to do: read listings with a client that stays on the hub's origin, as Slipway does; or give a token only to a hub that is trusted with it.
#
# Seen on 2026-12-01 with Python 3.11.7:
#   by the next page: the other host got 'Bearer hf_example'
#   by a redirect: the other host got no token
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "huggingface-hub==2.4.0" 2>/dev/null
cat > "$folder/ask.py" <<'PY'
import http.server
import threading

from huggingface_hub import HfApi

heard: list[str | None] = []


class Other(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        heard.append(self.headers.get("Authorization"))
        answer(self, 200, {})

    def log_message(self, *_: object) -> None:
        pass


class Hub(Other):
    def do_GET(self) -> None:
        elsewhere = f"http://localhost:{other.server_port}/page"
        if "/by-link/" in self.path:
            answer(self, 200, {"Link": f'<{elsewhere}>; rel="next"'})
        else:
            answer(self, 302, {"Location": elsewhere})


def answer(request: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in {**headers, "Content-Type": "application/json", "Content-Length": "2"}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(b"[]")


def serve(kind: type[http.server.BaseHTTPRequestHandler]) -> http.server.HTTPServer:
    server = http.server.HTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


other, hub = serve(Other), serve(Hub)
api = HfApi(endpoint=f"http://127.0.0.1:{hub.server_port}", token="hf_example")
for way, repository in (("the next page", "organisation/by-link"), ("a redirect", "organisation/by-redirect")):
    heard.clear()
    list(api.list_repo_tree(repository))
    print(f"by {way}: the other host got {heard[0]!r}" if heard[0] else f"by {way}: the other host got no token")
PY
said=$("$folder/venv/bin/python" "$folder/ask.py")
echo "$said"
case "$said" in
  "by the next page: the other host got 'Bearer hf_example'"*"by a redirect: the other host got no token") echo "As found." ;;
  *) echo "It is otherwise now." >&2; exit 1 ;;
esac
