#!/usr/bin/env python3
"""flow_server.py as the test suite runs it: the same arguments, the same READY line, and

* it dies with its parent: when stdin ends, which the kernel sees to however the parent went, the
  whole process group is killed, so it must be started as the leader of a group of its own;
* a line `kill NAME` on stdin kills the processes of that Executor and answers `KILLED NAME`;
* one more Executor: `streamer`, whose endpoint /stream answers one Document with many (jina that
  serves streaming endpoints only);
* and of v2 those of own_docs.py, whose Documents are of schemas of their own: `own`, `own_rich`, `own_stream`;
* with `--monitoring`, metrics are offered on the loopback interface only;
* with `--deployment`, the one Executor is served by a Deployment, without a gateway;
* jina 3.6.5 runs on Python 3.11 and listens on the loopback interface only.
"""
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import flow_server  # noqa: E402
from jina import Executor, requests  # noqa: E402


class Streamer(Executor):
    """Yields tags['count'] Documents; raises before the one with number tags['fail_at'].

    Tags, because the parameters of a request do not reach a streaming endpoint.
    """

    if flow_server.V2:

        @requests(on='/stream')
        async def stream(
            self, doc: flow_server.AnyDoc, **kwargs
        ) -> flow_server.AnyDoc:
            for i in range(doc.tags['count']):
                if doc.tags.get('fail_at') == i:
                    raise ValueError('streamer was asked to fail')
                yield flow_server.AnyDoc(text=f'{doc.text} {i}')


def old_jina_on_new_python():
    import traceback
    import types

    import grpc.aio._server
    import google.protobuf.reflection

    plain_format = traceback.format_exception

    def format_exception(exc=None, /, value=None, tb=None, *, etype=None, **kwargs):
        # Python 3.10 made the first argument positional, and its name was `etype` before.
        return plain_format(exc if etype is None else etype, value, tb, **kwargs)

    traceback.format_exception = format_exception

    # The HTTP gateway wants the metaclass of messages from protobuf's compiled form, which this
    # protobuf has for older Pythons only.
    cpp_message = types.ModuleType('google.protobuf.pyext.cpp_message')
    cpp_message.GeneratedProtocolMessageType = google.protobuf.reflection.GeneratedProtocolMessageType
    sys.modules[cpp_message.__name__] = cpp_message

    plain_port = grpc.aio._server.Server.add_insecure_port

    def add_insecure_port(self, address):
        return plain_port(self, address.replace('0.0.0.0', '127.0.0.1'))

    grpc.aio._server.Server.add_insecure_port = add_insecure_port


def deployment(a):
    """The Executor alone, as `build` makes a Flow."""
    from jina import Deployment

    a.ports = [port or flow_server.free_port() for port in a.ports]
    return Deployment(
        uses=flow_server.EXECUTORS[a.names[0]], name=a.names[0], protocol=a.protocols, port=a.ports
    )


def metrics_that_work():
    """Jina's pods would offer them on all interfaces; and with prometheus_client of 2025 on, answer with status 500.

    A metric of Jina's own unpacks samples, which have one value more since then.
    """
    import prometheus_client
    from prometheus_client.metrics import Summary

    everywhere = prometheus_client.start_http_server

    def start_http_server(port, addr='127.0.0.1', **kwargs):
        return everywhere(port, addr, **kwargs)

    prometheus_client.start_http_server = start_http_server
    try:
        from jina.serve.monitoring import _SummaryDeprecated
    except ImportError:
        return  # of before

    def collect(self):
        metric = self._get_metric()
        for sample in Summary._samples(self):
            suffix, labels, value, timestamp, exemplar = sample[:5]
            for name in filter(None, (self._name, self._old_name)):
                metric.add_sample(name + suffix, labels, value, timestamp, exemplar)
        return [metric]

    _SummaryDeprecated.collect = collect


def kill_executor(name):
    """Kills every process below this one that belongs to the Executor, and waits until it is gone."""
    import multiprocessing

    found = [
        child
        for child in multiprocessing.active_children()
        if child.name == name or child.name.startswith(name + '/')
    ]
    for child in found:
        child.kill()
        child.join()
    return bool(found)


def obey():
    # Not sys.stdin: this thread would hold its lock while Jina forks, and the child waits for it.
    for line in os.fdopen(os.dup(0)):
        command, _, name = line.strip().partition(' ')
        if command == 'kill' and kill_executor(name):
            print(f'KILLED {name}', flush=True)
        else:
            print(f'REFUSED {line.strip()}', flush=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == '__main__':
    if os.getpgrp() != os.getpid():
        sys.exit('serve.py must lead a process group of its own, because it kills the group it is in')
    if int(flow_server.JINA_VERSION.split('.')[1]) < 7:
        old_jina_on_new_python()
    flow_server.EXECUTORS['streamer'] = Streamer
    if flow_server.V2:
        import own_docs

        flow_server.EXECUTORS['own'] = own_docs.Own
        flow_server.EXECUTORS['own_rich'] = own_docs.OwnRich
        flow_server.EXECUTORS['own_stream'] = own_docs.OwnStream
    if '--monitoring' in sys.argv:
        metrics_that_work()
    if '--deployment' in sys.argv:
        sys.argv.remove('--deployment')
        flow_server.build = deployment
    threading.Thread(target=obey, daemon=True).start()
    sys.exit(flow_server.main())
