"""A receiver of OTLP metrics over gRPC and HTTP, of the official messages. Keeps what it gets, as JSON, a line each push.

    collector.py FILE [STATUS [CERTIFICATE KEY]]

STATUS is what it answers over HTTP. With a certificate, both are encrypted. Prints the ports of gRPC and HTTP, and ends with its standard input."""

import json
import ssl
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as rpc

STATUS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
FILE = open(sys.argv[1], "a", encoding="utf-8")
LOCK = threading.Lock()


def keep(how, headers, request):
    headers = {name.lower(): value for name, value in headers}
    line = json.dumps({"how": how, "headers": headers, "request": MessageToDict(request)})
    with LOCK:
        FILE.write(line + "\n")
        FILE.flush()


class Grpc(rpc.MetricsServiceServicer):
    def Export(self, request, context):
        keep("grpc", context.invocation_metadata(), request)
        return service.ExportMetricsServiceResponse()


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if STATUS != 200:
            answer = b"no"
        elif self.path != "/v1/metrics" or self.headers["content-type"] != "application/x-protobuf":
            self.send_error(404)
            return
        else:
            keep("http", self.headers.items(), service.ExportMetricsServiceRequest.FromString(body))
            answer = service.ExportMetricsServiceResponse().SerializeToString()
        self.send_response(STATUS)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = grpc.server(futures.ThreadPoolExecutor(4))
rpc.add_MetricsServiceServicer_to_server(Grpc(), server)
web = ThreadingHTTPServer(("127.0.0.1", 0), Http)
if len(sys.argv) > 3:
    certificate, key = (open(path, "rb").read() for path in sys.argv[3:5])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[3:5])
    web.socket = context.wrap_socket(web.socket, server_side=True)
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
threading.Thread(target=web.serve_forever, daemon=True).start()
print(port, web.server_address[1], flush=True)
sys.stdin.read()
