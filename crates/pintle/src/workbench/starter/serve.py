turn = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with turn:
                status, answer = 200, call(self.path, json.loads(body or "{}"))
            if answer is None:
                status, answer = 404, {"Err": "there is no " + self.path}
        except Exception as error:
            status, answer = 500, {"Err": str(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self):
        return "engine"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


os.makedirs(os.path.dirname(SOCKET), mode=0o755, exist_ok=True)
os.umask(0o077)  # only root may connect
if os.path.exists(SOCKET):
    os.unlink(SOCKET)
Server(SOCKET, Handler).serve_forever()
