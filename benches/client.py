#!/usr/bin/env python3
"""Measures Jina's own client: client.py PROTOCOL PORT REQUEST_SIZE REQUESTS

Posts Documents of 96 characters, made on demand, and ignores the responses. Prints {"cpu_s", "wall_s"} of the post that
follows a first, short one.
"""
import json
import os
import sys
import time

os.environ['JINA_OPTOUT_TELEMETRY'] = '1'
os.environ['JINA_OPT_OUT_TELEMETRY'] = '1'
os.environ['JINA_LOG_LEVEL'] = 'ERROR'
os.environ['JINA_HIDE_SURVEY'] = '1'

import docarray  # noqa: E402
from jina import Client  # noqa: E402

if hasattr(docarray, 'DocList'):
    from jina._docarray import LegacyDocumentJina as Doc
else:
    from docarray import Document as Doc


def main():
    protocol, port, size, requests = sys.argv[1], *map(int, sys.argv[2:])
    client = Client(host='127.0.0.1', protocol=protocol, port=port)
    text = 'x' * 96
    answered = 0

    def on_done(response):
        nonlocal answered
        answered += 1

    def post(requests):
        inputs = (Doc(text=text) for _ in range(requests * size))
        client.post('/', inputs=inputs, request_size=size, on_done=on_done)

    post(max(1, requests // 20))
    answered = 0
    wall, cpu = time.perf_counter(), time.process_time()
    post(requests)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert answered == requests, f'{answered} of {requests} answered'
    print(json.dumps({'cpu_s': cpu, 'wall_s': wall}))


main()
