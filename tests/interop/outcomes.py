#!/usr/bin/env python3
"""Makes a list of calls with Jina's own client and says what came of each.

    outcomes.py GROUP < where.json

`where.json` is {"host": "127.0.0.1", "ports": {"grpc": 1, "http": 2, "websocket": 3}, "tls": false};
GROUP is one of those in GROUPS below. Prints a line of JSON for every call: {"call": its name and
protocol, "outcome": {"returned": ..., "callbacks": [...], "raised": ...}}. Of two gateways that
behave alike the lines are the same: what differs from run to run (ids that were made up, times,
ports, the frames of stacks) is replaced by a word that says what it was.
"""
import asyncio
import json
import os
import re
import signal
import sys

os.environ.setdefault('JINA_OPTOUT_TELEMETRY', '1')
os.environ.setdefault('JINA_OPT_OUT_TELEMETRY', '1')
os.environ.setdefault('JINA_LOG_LEVEL', 'CRITICAL')
os.environ.setdefault('JINA_HIDE_SURVEY', '1')
os.environ.setdefault('NO_VERSION_CHECK', '1')
for _name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    os.environ.pop(_name, None)

import docarray  # noqa: E402
import numpy as np  # noqa: E402
from jina import Client  # noqa: E402

V2 = hasattr(docarray, 'DocList')

if V2:
    from docarray import BaseDoc, DocList
    from docarray.documents import TextDoc
    from jina._docarray import LegacyDocumentJina as Doc

    Docs = DocList[Doc]
    TYPED = {'return_type': Docs}
else:
    from docarray import Document as Doc
    from docarray import DocumentArray as Docs

    TYPED = {}

# ---------------------------------------------------------------- what is told of values

MASKS = [
    # Where the client is in its own code, and which of several addresses it tried.
    (re.compile(r'0x[0-9a-f]+'), '0x…'),
    (re.compile(r'\b[0-9a-f]{32}\b'), 'an id'),
    (re.compile(r'(127\.0\.0\.1|localhost|\[::1\])[:, ]+\d+'), 'an address'),
    (re.compile(r"('127\.0\.0\.1'|'localhost'), \d+"), 'an address'),
    (re.compile(r'"(created|created_time|file_line|grpc_message)":("[^"]*"|\d+)[,}]?'), ''),
    (re.compile(r'\[Errno \d+\]'), '[Errno]'),
    # Times of routes are a byte longer or shorter.
    (re.compile(r'Message size \d+'), 'Message size N'),
    # The first bytes of another protocol: its settings, in whichever order.
    (re.compile(r'(Bad status line:).*(", url)', re.DOTALL), r'\1 …\2'),
]


def mask(text):
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    return text


def of_value(value):
    if isinstance(value, np.ndarray):
        return {'dtype': value.dtype.str, 'shape': list(value.shape), 'values': value.tolist()}
    if isinstance(value, bytes):
        return {'bytes': value.hex()}
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {str(key): of_value(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple, set)):
        return [of_value(item) for item in value]
    if hasattr(value, 'to_dict') and type(value).__name__ == 'NamedScore':
        return of_value(value.to_dict())
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return repr(value)


def of_doc(doc):
    if V2:
        fields = {name: getattr(doc, name, None) for name in type(doc).__fields__}
        for name, value in fields.items():
            if isinstance(value, DocList):
                fields[name] = of_docs(value)
        fields = {key: of_value(value) for key, value in sorted(fields.items())}
        fields['class'] = type(doc).__name__
        return fields
    fields = {name: getattr(doc, name) for name in sorted(doc.non_empty_fields)}
    for name in ('chunks', 'matches'):
        if name in fields:
            fields[name] = of_docs(fields[name])
    for name in ('scores', 'evaluations'):
        if name in fields:
            fields[name] = {key: repr(score) for key, score in sorted(fields[name].items())}
    return {key: of_value(value) for key, value in fields.items()}


def of_docs(docs):
    if docs is None:
        return None
    told = [of_doc(doc) for doc in docs]
    # A long list is told by its length and its ends.
    return told if len(told) <= 8 else [len(told), told[0], told[-1]]


def of_status(status):
    exception = status.exception
    return {
        'code': int(status.code),
        'description': mask(status.description),
        'exception': [exception.name, list(exception.args), exception.executor],
        'stacks': bool(exception.stacks),
        # Without the module, which is where the Executor was written.
        'last line': re.sub(r'^[\w.]+\.', '', exception.stacks[-1].strip())
        if exception.stacks
        else None,
    }


def of_route(route):
    ended = route.HasField('end_time')
    return {
        'executor': route.executor,
        'started': route.HasField('start_time'),
        'ended': ended,
        'in order': not ended
        or route.start_time.ToMicroseconds() <= route.end_time.ToMicroseconds(),
        'status': of_status(route.status) if route.HasField('status') else None,
    }


def of_response(response):
    if response is None:
        return None
    header = response.header
    try:
        docs = of_docs(response.docs)
    except Exception as error:
        docs = of_error(error)
    return {
        'request_id': mask(header.request_id),
        'exec_endpoint': header.exec_endpoint if header.HasField('exec_endpoint') else None,
        'target_executor': header.target_executor if header.HasField('target_executor') else None,
        'status': of_status(header.status) if header.HasField('status') else None,
        'parameters': of_value(dict(response.parameters)),
        'routes': [of_route(route) for route in response.routes],
        'docs': docs,
    }


def of_error(error):
    kind = type(error)
    module = '' if kind.__module__ == 'builtins' else kind.__module__ + '.'
    text = str(error)
    if type(error).__name__ in ('BadServer',) and error.args and hasattr(error.args[0], 'status'):
        text = {'header of': of_status(error.args[0].status)}
    return [module + kind.__name__, mask(text) if isinstance(text, str) else text]


def of_anything(value):
    if isinstance(value, list):
        return [of_anything(item) for item in value]
    if hasattr(value, 'header'):
        return of_response(value)
    if hasattr(value, '__iter__') and not isinstance(value, (dict, str, bytes)):
        return {'docs': of_docs(value), 'class': type(value).__name__}
    if V2 and isinstance(value, BaseDoc) or not V2 and isinstance(value, Doc):
        return of_doc(value)
    return of_value(value)


# ---------------------------------------------------------------- calls


class Call:
    """One call: a name, how it is made, and what is left out of what is told of it."""

    def __init__(self, name, make, only=None, family=None, telling=None):
        self.name, self.make, self.only, self.family = name, make, only, family
        # What is compared of an outcome; where more than one is right, less than all.
        self.telling = telling or (lambda protocol, outcome: outcome)


class Where:
    """A Flow, and what a call needs to speak to it."""

    def __init__(self, told, protocol):
        self.told, self.protocol, self.callbacks = told, protocol, []

    def client(self, **kwargs):
        settings = {
            'host': self.told['host'],
            'port': self.told['ports'][self.protocol],
            'protocol': self.protocol,
        }
        if self.told.get('tls'):
            settings['tls'] = True
        settings.update(kwargs)
        return Client(**settings)

    def callback(self, name, then=None):
        def called(*arguments):
            self.callbacks.append([name, [of_anything(argument) for argument in arguments]])
            if then is not None:
                raise then

        called.__name__ = name
        return called

    def note(self, name, value):
        self.callbacks.append([name, value])


def text_docs(*texts):
    # Ids of their own, so that what comes back can be told from what was made up.
    return Docs([Doc(id=f'd{i}', text=text) for i, text in enumerate(texts)])


def numbered(count):
    return Docs([Doc(id=f'd{i}', text=f'number {i}') for i in range(count)])


def post(on, inputs=None, client=None, callbacks=(), raising=None, **kwargs):
    """A call of `Client.post` with arguments that are made anew for each call."""

    def make(where):
        arguments = dict(TYPED, **kwargs)
        for name in callbacks:
            arguments[name] = where.callback(name, (raising or {}).get(name))
        given = inputs() if callable(inputs) else inputs
        if given is not None or 'inputs' in kwargs:
            arguments['inputs'] = given
        return where.client(**(client or {})).post(on, **arguments)

    return make


# The client waits for ever for results in order that all came before it had sent the last request
# (and so does a gateway, for those of gRPC): they take their time here.
IN_ORDER = {'results_in_order': True, 'parameters': {'sleep_ms': 100}}

ALL = ('on_done', 'on_error', 'on_always')


def sizes(protocol, outcome):
    """Only how many Documents each response had, in any order."""
    outcome = dict(outcome)
    if isinstance(outcome['returned'], list):
        count = lambda docs: docs[0] if docs and isinstance(docs[0], int) else len(docs)
        outcome['returned'] = sorted(count(response['docs']) for response in outcome['returned'])
    return outcome


def as_they_come(protocol, outcome):
    """Responses of several requests in flight have no order of their own."""
    outcome = dict(outcome)
    outcome['callbacks'] = sorted(outcome['callbacks'], key=lambda called: json.dumps(called))
    return outcome


def raised_alone(protocol, outcome):
    """Over HTTP of v2 an exception in an Executor is raised at once: how much of the rest was
    done by then is chance."""
    return {'raised': outcome['raised']} if V2 and protocol == 'http' else as_they_come(protocol, outcome)


def maybe_swallowed(protocol, outcome):
    """The client over WebSocket loses BadServer at times, to a race with itself."""
    return None if protocol == 'websocket' else outcome


def met_too_early(protocol, outcome):
    """A gateway of gRPC speaks first, and the client may or may not have spoken by then, which makes
    two exceptions of one."""
    return outcome['raised'] is not None


def generator():
    for i in range(25):
        yield Doc(id=f'd{i}', text=f'number {i}')


async def async_generator():
    for i in range(25):
        yield Doc(id=f'd{i}', text=f'number {i}')


def failing_generator():
    yield Doc(id='d0', text='first')
    raise RuntimeError('no more inputs')


def rich():
    doc = Doc(id='rich', text='ä 🌍 " \\ \n')
    doc.embedding = np.array([0.5, -1.5, 3.25], dtype=np.float32)
    doc.tags = {'word': 'x', 'number': 2.5, 'list': [2.0, 'a'], 'deep': {'er': True}}
    if not V2:
        doc.uri, doc.mime_type, doc.weight = 'http://a.b/c', 'text/plain', 0.5
        doc.modality, doc.offset, doc.location = 'text', 1.5, [1.0, 2.5]
        doc.scores['cosine'].value = 0.25
        doc.scores['cosine'].op_name = 'op'
        doc.evaluations['recall'].value = 0.75
    else:
        doc.url = 'http://a.b/c'
    doc.chunks.append(Doc(id='c0', text='chunk'))
    doc.matches.append(Doc(id='m0', text='match'))
    return doc


def arrays():
    kinds = ['<f4', '<f8', '<i4', '<i8', '|u1', '>f4']
    docs = []
    for i, kind in enumerate(kinds):
        doc = Doc(id=f'd{i}')
        doc.tensor = np.arange(6).reshape(2, 3).astype(kind)
        docs.append(doc)
    return Docs(docs)


def blobs():
    return Docs([Doc(id='d0', blob=b'plain'), Doc(id='d1', blob=b'more')])


def gather(where, on, return_responses=False, callbacks=(), **kwargs):
    """The asynchronous client: everything it yields."""

    async def run():
        client = where.client(asyncio=True)
        for name in callbacks:
            kwargs[name] = where.callback(name)
        found = []
        posted = client.post(on, return_responses=return_responses, **dict(TYPED, **kwargs))
        async for item in posted:
            found.append(of_anything(item))
        return found

    return asyncio.run(run())


def feedback(where):
    """The next input is made of the last response."""

    async def run():
        client = where.client(asyncio=True)
        queue = asyncio.Queue()
        await queue.put('0')

        async def inputs():
            while True:
                text = await queue.get()
                if text is None:
                    return
                yield Doc(id=text, text=text)

        seen = []
        async for docs in client.post('/', inputs=inputs, request_size=1, **TYPED):
            seen.append(docs[0].text)
            await queue.put(str(len(seen)) if len(seen) < 4 else None)
        return seen

    return asyncio.run(run())


def wrong_port(of):
    def make(where):
        client = where.client(port=where.told['ports'][of])
        return client.post('/', inputs=text_docs('a'), **TYPED)

    return make


def save(where):
    """As in Jina's documentation: print, beep and save."""
    import io

    held = io.BytesIO()
    client = where.client()
    client.post(
        '/',
        inputs=text_docs('a', 'b'),
        on_done=lambda response: where.note('print', [doc.text for doc in response.docs]),
        on_error=lambda response: where.note('beep', None),
        on_always=lambda response: held.write(response.docs.to_bytes(protocol='protobuf')),
        **TYPED,
    )
    return len(held.getvalue()) > 0


def any_order(where):
    client = where.client()
    docs = client.post('/', inputs=numbered(30), request_size=3, **TYPED)
    return sorted(doc.text for doc in docs)


def readiness(where):
    client = where.client()
    return [client.is_flow_ready(), client.is_flow_ready()]


def dry_run(where):
    client = where.client()
    return client.dry_run() if hasattr(client, 'dry_run') else None


def own_schema(where):
    class Small(BaseDoc):
        text: str = ''

    found = where.client().post(
        '/', inputs=DocList[Small]([Small(id='s0', text='small')]), return_type=DocList[Small]
    )
    return [type(found).__name__, of_docs(found)]


def prefetched(where):
    return where.client().post(
        '/', inputs=text_docs('sleep:150', 'quick'), request_size=1, prefetch=1, **TYPED
    )


def results_of_several(where):
    found = where.client().post(
        '/sum', inputs=numbered(6), request_size=2, return_responses=True, **IN_ORDER, **TYPED
    )
    return [of_value(response.parameters) for response in found]


def posts():
    yield Call('one Document', post('/', lambda: Doc(id='d0', text='hello')))
    yield Call('a list', post('/', lambda: text_docs('a', 'b', '')))
    yield Call('responses', post('/', lambda: text_docs('a', 'b'), return_responses=True))
    yield Call('nothing', post('/'))
    yield Call('nothing, as responses', post('/', return_responses=True))
    yield Call('an empty list', post('/', lambda: Docs([])))
    yield Call('parameters alone', post('/', parameters={'sum': True}, return_responses=True))
    yield Call('a generator', post('/', lambda: generator(), request_size=10, **IN_ORDER))
    yield Call('a function', post('/', lambda: (lambda: generator()), **IN_ORDER))
    yield Call('a generator that fails', post('/', failing_generator), telling=lambda _, outcome: outcome['raised'] is not None)
    yield Call('batches by default', post('/', lambda: numbered(250), return_responses=True), telling=sizes)
    yield Call('batches of 7', post('/', lambda: numbered(25), request_size=7, return_responses=True), telling=sizes)
    yield Call('all in one', post('/', lambda: numbered(250), request_size=-1, return_responses=True), telling=sizes)
    yield Call('batches in any order', any_order)
    yield Call('what batches return', results_of_several)
    parameters = {'a': 1, 'b': [1.5, 'x', None, True], 'deep': {'er': {}}}
    yield Call('parameters', post('/', lambda: text_docs('a'), parameters=parameters, return_responses=True))
    yield Call('parameters of one Executor', post('/', lambda: text_docs('a'), parameters={'appender__append': True, 'appender': {'append_count': 2}}, return_responses=True))
    yield Call('parameters for one Executor', post('/', lambda: text_docs('a'), parameters={'appender': {'append': True}}, return_responses=True))
    yield Call('results that are no dict', post('/', lambda: text_docs('a'), parameters={'__results__': 'x'}, return_responses=True))
    for endpoint in ('/append', 'append', '/clear', '/sum', '/nowhere', '/deeper/endpoint'):
        yield Call(f'endpoint {endpoint}', post(endpoint, lambda: text_docs('a', 'b'), return_responses=True))
    yield Call('endpoint of no name', post('', lambda: text_docs('a'), return_responses=True))
    for method in ('index', 'search', 'update', 'delete'):
        yield Call(f'method {method}', lambda where, method=method: getattr(where.client(), method)(inputs=text_docs('a'), return_responses=True, **TYPED))
    for target in ('append', 'echo|summer', '.*er$', 'nobody', 'bar*', 'Appender', ''):
        yield Call(f'target {target}', post('/append', lambda: text_docs('a'), target_executor=target, return_responses=True))
    yield Call('a target that is no expression', post('/', lambda: text_docs('a'), target_executor='(', return_responses=True))
    yield Call('all fields', post('/', rich, return_responses=True))
    yield Call('arrays', post('/', arrays, return_responses=True))
    yield Call('blobs', post('/', blobs, return_responses=True))
    yield Call('a large Document', post('/', lambda: Doc(id='d', text='long ' * 400_000)), telling=lambda _, outcome: [outcome['raised'], len(json.dumps(outcome['returned']))])
    yield Call('a response beyond what the client takes', post('/', lambda: Doc(id='d', text='x' * 6_000_000)), only=['websocket'])
    # Callbacks.
    for name in ALL:
        yield Call(f'{name} alone', post('/', lambda: text_docs('a'), callbacks=[name]))
    yield Call('all callbacks', post('/', lambda: text_docs('a'), callbacks=ALL))
    yield Call('callbacks and responses', post('/', lambda: text_docs('a'), callbacks=['on_done'], return_responses=True))
    yield Call('callbacks of batches', post('/', lambda: numbered(5), callbacks=ALL, request_size=2), telling=as_they_come)
    yield Call('callbacks without inputs', post('/sum', callbacks=ALL))
    yield Call('a failure, all callbacks', post('/', lambda: text_docs('a', 'fail'), callbacks=ALL), telling=raised_alone)
    yield Call('a failure, on_error alone', post('/', lambda: text_docs('fail'), callbacks=['on_error']), telling=raised_alone)
    yield Call('a failure, on_done and on_error', post('/', lambda: text_docs('fail'), callbacks=['on_done', 'on_error']), telling=raised_alone)
    yield Call('a failure among batches', post('/', lambda: text_docs('a', 'fail', 'c'), callbacks=ALL, request_size=1), telling=raised_alone)
    yield Call('a failure without callbacks', post('/', lambda: text_docs('fail')), telling=maybe_swallowed)
    yield Call('a failure, on_done alone', post('/', lambda: text_docs('fail'), callbacks=['on_done']), telling=maybe_swallowed)
    yield Call('a failure, on_always alone', post('/', lambda: text_docs('fail'), callbacks=['on_always']), telling=maybe_swallowed)
    yield Call('a failure, going on', post('/', lambda: text_docs('a', 'fail', 'c'), request_size=1, continue_on_error=True, **IN_ORDER), telling=lambda protocol, outcome: raised_alone(protocol, outcome))
    yield Call('a failure, going on with on_always', post('/', lambda: text_docs('fail'), callbacks=['on_always'], continue_on_error=True), telling=raised_alone)
    for kind in (True, 'type', 'custom'):
        yield Call(f'exception {kind}', post('/', lambda: text_docs('a'), parameters={'fail': kind}, callbacks=['on_error'], return_responses=True))
    for name in ALL:
        on = '/'
        inputs = (lambda: text_docs('fail')) if name == 'on_error' else (lambda: text_docs('a'))
        raising = {name: RuntimeError(f'{name} raises')}
        yield Call(f'{name} raises', post(on, inputs, callbacks=[name], raising=raising), telling=maybe_swallowed)
        yield Call(f'{name} raises, going on', post(on, inputs, callbacks=[name], raising=raising, continue_on_error=True), telling=raised_alone)
    yield Call('print, beep, save', save)
    # The manner.
    yield Call('in order', post('/', lambda: text_docs('sleep:150', 'quick', 'last'), request_size=1, results_in_order=True))
    yield Call('as they finish', post('/', lambda: text_docs('sleep:400', 'quick'), request_size=1))
    yield Call('one at a time', prefetched, family='v2')
    for compression in ('NoCompression', 'Gzip', 'Deflate'):
        yield Call(f'compression {compression}', post('/', lambda: text_docs('long ' * 2000), compression=compression))
    yield Call('compression of no name', post('/', lambda: text_docs('a'), compression='gzip'))
    yield Call('in time', post('/', lambda: text_docs('a'), timeout=20))
    yield Call('not in time', post('/', lambda: text_docs('sleep:1500'), timeout=0.3), only=['grpc'])
    yield Call('with attempts', post('/', lambda: text_docs('a'), max_attempts=3, initial_backoff=0.1, max_backoff=0.2))
    yield Call('with metadata', post('/', lambda: text_docs('a'), metadata=(('key', 'value'),)), only=['grpc'])
    yield Call('with headers', post('/', lambda: text_docs('a'), headers={'key': 'value'}), only=['http', 'websocket'])
    yield Call('without a stream', post('/append', lambda: text_docs('a'), stream=False, return_responses=True), family='v2')
    yield Call('without a stream, a failure', post('/', lambda: text_docs('fail'), stream=False, callbacks=['on_error']), family='v2', telling=raised_alone)
    yield Call('a schema of its own', own_schema, family='v2')
    yield Call('without a type', lambda where: where.client().post('/', inputs=text_docs('a')), family='v2')
    # Asynchronous.
    yield Call('asynchronous', lambda where: gather(where, '/', inputs=numbered(5), request_size=2, **IN_ORDER))
    yield Call('asynchronous responses', lambda where: gather(where, '/', inputs=text_docs('a'), return_responses=True))
    yield Call('asynchronous with callbacks', lambda where: gather(where, '/', inputs=text_docs('a'), callbacks=ALL))
    yield Call('asynchronous inputs', lambda where: gather(where, '/', inputs=async_generator, request_size=10, **IN_ORDER))
    yield Call('asynchronous, a failure', lambda where: gather(where, '/', inputs=text_docs('fail'), callbacks=['on_error']), telling=raised_alone)
    yield Call('inputs made of responses', feedback)
    # Readiness, and doors that lead elsewhere.
    yield Call('is it ready', readiness)
    yield Call('dry run', dry_run)
    for of in ('grpc', 'http', 'websocket'):
        others = [protocol for protocol in ('grpc', 'http', 'websocket') if protocol != of]
        telling = met_too_early if of == 'grpc' else None
        yield Call(f'the port of {of}', wrong_port(of), only=others, telling=telling)


def tls():
    yield Call('over TLS', post('/append', lambda: text_docs('a'), return_responses=True))
    yield Call('ready over TLS', readiness)
    yield Call('batches over TLS', post('/', lambda: numbered(30), request_size=7, **IN_ORDER))
    yield Call('a name', post('/', lambda: text_docs('a'), client={'host': 'localhost'}))
    yield Call('plain', post('/', lambda: text_docs('a'), client={'tls': False}))
    yield Call('plain, is it ready', lambda where: where.client(tls=False).is_flow_ready())


def to_plain():
    yield Call('TLS to a plain port', post('/', lambda: text_docs('a'), client={'tls': True}))
    yield Call('TLS to a plain port, is it ready', lambda where: where.client(tls=True).is_flow_ready())


def mutations():
    def mutate(mutation, **kwargs):
        def make(where):
            answer = where.client().mutate(mutation, **kwargs)
            headers = answer.pop('headers', {})
            return [of_value(answer), headers.get('content-type')]

        return make

    queries = {
        'a mutation': 'mutation { docs(data: {text: "abcd"}) { text } }',
        'a list': 'mutation { docs(data: [{id: "a", text: "x"}, {id: "b"}]) { id text adjacency } }',
        'an endpoint': 'mutation { docs(data: {id: "a"}, execEndpoint: "/append") { text } }',
        'a target': 'mutation { docs(data: {id: "a"}, execEndpoint: "/append", targetExecutor: "echo") { text } }',
        'parameters': 'mutation { docs(data: {id: "a"}, parameters: "{\\"append\\": true}") { text } }',
        'a failure': 'mutation { docs(data: {id: "a", text: "fail"}) { id text } }',
        'fields': 'mutation { docs(data: {id: "a", tags: "{\\"x\\": 2}", tensor: [[1, 2], [3, 4]], weight: 0.5}) { id tags tensor weight chunks { id } embedding } }',
        'a query': 'query { docs(data: {id: "a", text: "q"}) { id text } }',
        'no data': 'mutation { docs { id } }',
        'no such field': 'mutation { docs(data: {id: "a"}) { colour } }',
        'bad syntax': 'mutation { docs(data: ',
    }
    for name, query in queries.items():
        yield Call(name, mutate(query), only=['http'])
    with_variables = 'mutation ($text: String, $p: JSONScalar) { docs(data: {id: "v", text: $text}, parameters: $p) { id text } }'
    yield Call('variables', mutate(with_variables, variables={'text': 'of a variable', 'p': '{"append": true}'}), only=['http'])
    yield Call('mutations elsewhere', lambda where: where.client().mutate(queries['a mutation']), only=['grpc', 'websocket'])

    def asynchronous(where):
        async def run():
            answer = await where.client(asyncio=True).mutate(queries['a list'])
            answer.pop('headers', None)
            return of_value(answer)

        return asyncio.run(run())

    yield Call('an asynchronous mutation', asynchronous, only=['http'])


def streams():
    def stream(on, doc):
        def make(where):
            async def run():
                client = where.client(asyncio=True)
                answers = client.stream_doc(on=on, inputs=doc(), return_type=Doc)
                # Their ids are the business of the Executor.
                return [[type(doc).__name__, doc.text] async for doc in answers]

            return asyncio.run(run())

        return make

    def events(method, body, query=''):
        def make(where):
            import http.client

            line = http.client.HTTPConnection(where.told['host'], where.told['ports']['http'])
            headers = {'content-type': 'application/json'} if body else {}
            line.request(method, '/stream' + query, body, headers)
            answer = line.getresponse()
            text = re.sub(r'"id": ?"[^"]*"', '"id": …', answer.read().decode())
            # Python puts blanks into JSON, and keys in its own order.
            found = [
                sorted(json.loads(event[6:].replace('…', '"…"')).items(), key=lambda item: item[0])
                if event.startswith('data: ')
                else event
                for event in text.split('\r\n')
            ]
            return [answer.status, answer.getheader('content-type'), answer.getheader('allow'), found]

        return make

    doc = lambda: Doc(id='s', text='token', tags={'count': 3})
    yield Call('a stream', stream('/stream', doc), only=['grpc', 'http'])
    yield Call('events', events('GET', '{"id": "s", "text": "token", "tags": {"count": 3}}'), only=['http'])
    yield Call('events of nothing that is right', events('GET', '{"text": 5, "tags": 3}'), only=['http'])
    yield Call('a post to a stream', events('POST', '{"data": [{"text": "a"}]}'), only=['http'])


def down():
    yield Call('an Executor is down', post('/', lambda: text_docs('a')))
    yield Call('an Executor is down, callbacks', post('/', lambda: text_docs('a'), callbacks=ALL))
    yield Call('an Executor is down, of batches', post('/', lambda: numbered(3), request_size=1, max_attempts=1), telling=lambda _, outcome: outcome['raised'] is not None)
    yield Call('an Executor is down, is it ready', readiness)
    yield Call('another is the target', post('/', lambda: text_docs('a'), target_executor='echo'))


def outsiders():
    """Clients that know nothing of Jina, and the tools that they are made of."""

    def reflection(where):
        """As grpcurl does: all it knows of messages and methods, the server tells it."""
        import grpc
        from google.protobuf import descriptor_pool, json_format, message_factory
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
            ProtoReflectionDescriptorDatabase,
        )

        with grpc.insecure_channel(f"{where.told['host']}:{where.told['ports']['grpc']}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            services = sorted(database.get_services())
            pool = descriptor_pool.DescriptorPool(database)
            methods = {}
            for service in services:
                for method in pool.FindServiceByName(service).methods:
                    methods[f'{service}/{method.name}'] = [
                        method.input_type.full_name,
                        method.output_type.full_name,
                    ]
            told = pool.FindMessageTypeByName('jina.DataRequestProto')
            Message = message_factory.GetMessageClass(told)
            request = json_format.ParseDict(
                {'header': {'requestId': 'of-reflection', 'execEndpoint': '/sum'}}, Message()
            )
            call = channel.stream_stream(
                '/jina.JinaRPC/Call', Message.SerializeToString, Message.FromString
            )
            answers = []
            for answer in call(iter([request, request])):
                answer = json_format.MessageToDict(answer)
                answers.append([answer['header'], answer['parameters'], [r['executor'] for r in answer['routes']]])
        return [services, methods, answers]

    def health(where):
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        with grpc.insecure_channel(f"{where.told['host']}:{where.told['ports']['grpc']}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            found = []
            for service in ('', 'jina.JinaRPC', 'jina.JinaGatewayDryRunRPC', 'nosuch'):
                try:
                    found.append(stub.Check(health_pb2.HealthCheckRequest(service=service)).status)
                except grpc.RpcError as error:
                    found.append(str(error.code()))
        return found

    def frames(where):
        """As k6 does: text frames, without a subprotocol."""
        from websockets.sync.client import connect

        found = []
        with connect(f"ws://{where.told['host']}:{where.told['ports']['websocket']}/") as socket:
            for text in ('a', 'fail'):
                socket.send(json.dumps({'data': [{'id': 'd', 'text': text}], 'execEndpoint': '/'}))
                answer = json.loads(socket.recv())
                status = answer['header'].get('status', {})
                found.append([answer['data'][0]['text'], status.get('description')])
            socket.send('{}')
            try:
                socket.recv()
            except Exception as error:
                found.append(type(error).__name__)
        return found

    def pages(where):
        """As a script without any client would: one connection for all."""
        import http.client

        line = http.client.HTTPConnection(where.told['host'], where.told['ports'][where.protocol])
        found = []
        for method, path, body in [
            ('GET', '/', None),
            ('GET', '/dry_run', None),
            ('HEAD', '/', None),
            ('OPTIONS', '/post', None),
            ('GET', '/nosuch', None),
            ('POST', '/dry_run', '{}'),
            ('POST', '/post', '{"data": [{"id": "d", "text": "a"}], "execEndpoint": "/"}'),
            ('POST', '/default', '{"data": [{"id": "d", "text": "a"}]}'),
            ('POST', '/post', 'no JSON'),
            ('DELETE', '/post', None),
        ]:
            headers = {'content-type': 'application/json'} if body else {}
            line.request(method, path, body, headers)
            answer = line.getresponse()
            text = answer.read().decode()
            wanted = ('content-type', 'allow', 'connection')
            headers = {key.lower(): value for key, value in answer.getheaders() if key.lower() in wanted}
            # Bodies of answers with Documents have ids and times; others are told.
            told = sorted(json.loads(text)) if 'routes' in text or 'parameters' in text else text
            if answer.status == 422:
                # A text that is no JSON is told of in the words, and at the place, of who reads it.
                told = [(problem['loc'][0], bool(problem['msg']), problem['type']) for problem in json.loads(text)['detail']]
            found.append([method, path, answer.status, headers, told])
        return found

    yield Call('reflection', reflection, only=['grpc'])
    yield Call('health', health, only=['grpc'])
    yield Call('frames of text', frames, only=['websocket'], family='v1')
    yield Call('pages', pages, only=['http', 'websocket'])


GROUPS = {
    'outsiders': outsiders,
    'posts': posts,
    'tls': tls,
    'to_plain': to_plain,
    'mutations': mutations,
    'streams': streams,
    'down': down,
}


def main():
    told = json.load(sys.stdin)
    family = 'v2' if V2 else 'v1'
    # Whatever hangs, this process ends.
    signal.alarm(300)
    out = os.fdopen(os.dup(1), 'w')
    # What the client prints of its own accord is no outcome.
    os.dup2(2, 1)
    first = Where(told, 'grpc')
    if told.get('ports', {}).get('grpc') and sys.argv[1] == 'posts':
        # The first request of a gateway of v1 is treated in its own way.
        first.client().post('/', inputs=text_docs('first'), **TYPED)
    for call in GROUPS[sys.argv[1]]():
        if call.family not in (None, family):
            continue
        for protocol in call.only or ('grpc', 'http', 'websocket'):
            if protocol not in told['ports']:
                continue
            where = Where(told, protocol)
            outcome = {'returned': None, 'raised': None}
            try:
                outcome['returned'] = of_anything(call.make(where))
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                outcome['raised'] = of_error(error)
            outcome['callbacks'] = where.callbacks
            line = {'call': f'{call.name}, {protocol}', 'outcome': call.telling(protocol, outcome)}
            print(json.dumps(line, sort_keys=True), file=out, flush=True)


if __name__ == '__main__':
    main()
