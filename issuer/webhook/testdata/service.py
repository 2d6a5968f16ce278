"""A webhook service that shares no code with mintmark: it checks signature,
clock and question, and allows the devices of press 1.

usage: service.py CERT KEY SECRETFILE"""
import base64, hashlib, hmac, http.server, json, ssl, sys, time

secret = open(sys.argv[3], "rb").read()


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fields = dict(f.split("=", 1) for f in self.headers["Mintmark-Signature"].split(","))
        want = hmac.new(secret, fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(want, fields["v1"]) or abs(time.time() - int(fields["t"])) > 300:
            self.send_error(401)
            return
        q = json.loads(body)
        assert q["version"] == 1 and base64.b64decode(q["csr"]) == b"request"
        known = q["device"] == "press-1" and q["names"] == ["DNS:press-1.example"] and q["requester"]["address"] == "10.1.2.3"
        answer = {"version": 1, "id": q["id"], "decision": "allow" if known else "deny", "reason": "" if known else "no such press"}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("https://127.0.0.1:%d/enroll" % server.server_address[1], flush=True)
server.serve_forever()
