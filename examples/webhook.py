#!/usr/bin/env python3
"""A webhook that authorises enrollments: docs/configuration.md, "The webhook".

It allows the devices whose names stand in a file, one a line, lets a person
decide about those that stand there after a question mark, and denies all others.

usage: webhook.py CERT KEY SECRETFILE DEVICES [PORT]

CERT and KEY are the service's own, in PEM. SECRETFILE is the key_file of the
label; it must not be readable by others. Needs nothing but Python 3.
"""
import hashlib, hmac, http.server, json, ssl, sys, time

CLOCK = 300  # seconds that a question may be old


def decide(device, path):
    names = {line.strip() for line in open(path)}
    if device in names:
        return "allow", ""
    if "?" + device in names:
        return "hold", ""
    return "deny", "the manufacturing system does not expect this device"


class Webhook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        if not 0 < length <= 1 << 17:
            return self.send_error(400)
        body = self.rfile.read(length)
        if not self.signed(body):
            return self.send_error(401)
        question = json.loads(body)
        if question["version"] != 1:
            return self.send_error(400)
        decision, reason = decide(question["device"], sys.argv[4])
        answer = {"version": 1, "id": question["id"], "decision": decision}
        if reason:
            answer["reason"] = reason
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def signed(self, body):
        fields = dict(f.split("=", 1) for f in self.headers.get("Mintmark-Signature", "").split(",") if "=" in f)
        at, mac = fields.get("t", ""), fields.get("v1", "")
        want = hmac.new(SECRET, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(want, mac) and at.isdigit() and abs(time.time() - int(at)) <= CLOCK


SECRET = open(sys.argv[3], "rb").read().rstrip(b"\r\n")
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[5]) if len(sys.argv) > 5 else 0), Webhook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("https://127.0.0.1:%d/" % server.server_address[1], flush=True)
server.serve_forever()
