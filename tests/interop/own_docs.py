"""Documents of schemas of their own (docarray >= 0.30), and an Executor that tells what it saw of them.

Every endpoint answers with a `Seen` for each Document, whose `seen` is the Document in JSON, types and all:
/clash has v1's names with other types, /rich every type that can be sent, /flat those without Documents in
them (its schema can be had by gRPC), /echo gives back what it got, /yield is a streaming endpoint.

As a program, `own_docs.py PROTOCOL PORT` posts Documents as Jina's own client does: stdin has lines of
`ENDPOINT FIELDS`, FIELDS in JSON, and stdout gets the `seen` of each.
"""
import json
import os
import sys
from enum import Enum
from typing import Any, Dict, List, Optional, Union

os.environ.setdefault('JINA_LOG_LEVEL', 'ERROR')

import numpy as np  # noqa: E402
from docarray import BaseDoc, DocList  # noqa: E402
from docarray.typing import ImageUrl, NdArray  # noqa: E402
from jina import Client, Executor, requests  # noqa: E402


class Point(BaseDoc):
    x: float
    label: str = 'p'


class Clash(BaseDoc):
    """v1's names, each with a type that v1 has not under it, and defaults that are not empty."""

    text: int
    uri: str = 'somewhere'
    url: Optional[ImageUrl] = None
    tags: List[str] = ['default']
    scores: List[float] = [0.5]
    evaluations: Dict[str, int] = {'a': 1}
    weight: str = 'heavy'
    blob: bytes = b'default'
    tensor: Optional[NdArray[3, 4]] = None
    embedding: List[List[float]] = [[1.0]]
    chunks: int = 7
    matches: Optional[Dict[str, float]] = None
    mime_type: bool = True
    modality: Optional[int] = 4
    location: Dict[str, float] = {'a': 0.5}
    offset: Optional[float] = 0.25
    parent_id: Optional[int] = 3
    granularity: str = 'fine'
    adjacency: List[int] = [1]
    content: str = 'default'


class Colour(str, Enum):
    red = 'red'
    blue = 'blue'


class Flat(BaseDoc):
    prompt: str
    temperature: float = 0.7
    n: int = 1
    stream: bool = False
    image: Optional[ImageUrl] = None
    data: Optional[bytes] = None
    vec: Optional[NdArray] = None
    mat: Optional[NdArray[3, 4]] = None
    either: Union[int, str] = 5
    prices: Dict[str, float] = {}
    table: List[List[int]] = []
    names: List[str] = []
    maybe: Optional[List[float]] = None


class Rich(Flat):
    point: Optional[Point] = None
    points: DocList[Point] = DocList[Point]()
    any_dict: Dict[str, Any] = {}
    colour: Optional[Colour] = None


class Seen(BaseDoc):
    seen: str
    title: str = 'seen'


def plain(value):
    """A value in JSON, with the type of what JSON has no type for."""
    if isinstance(value, np.ndarray):
        value = np.asarray(value)
        return {'dtype': value.dtype.str, 'shape': list(value.shape), 'values': value.tolist()}
    if isinstance(value, bytes):
        return {'bytes': list(value)}
    if isinstance(value, BaseDoc):
        fields = {name: plain(getattr(value, name)) for name in sorted(value.__fields__)}
        # Made up where none was sent.
        return {type(value).__name__: {k: v for k, v in fields.items() if k != 'id'}}
    if isinstance(value, (list, tuple, set, DocList)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return {'enum': value.value}
    if value is None or type(value) in (bool, int, float, str):
        return value
    return {type(value).__name__: str(value)}


def seen(doc):
    return Seen(seen=json.dumps(plain(doc)))


class Own(Executor):
    @requests(on='/clash')
    def clash(self, docs: DocList[Clash], **kwargs) -> DocList[Seen]:
        return DocList[Seen]([seen(doc) for doc in docs])

    @requests(on='/flat')
    def flat(self, docs: DocList[Flat], **kwargs) -> DocList[Seen]:
        return DocList[Seen]([seen(doc) for doc in docs])

    @requests(on='/echo')
    def echo(self, docs: DocList[Clash], **kwargs) -> DocList[Clash]:
        return docs


class OwnRich(Executor):
    @requests(on='/rich')
    def rich(self, docs: DocList[Rich], **kwargs) -> DocList[Seen]:
        return DocList[Seen]([seen(doc) for doc in docs])


class OwnStream(Executor):
    @requests(on='/yield')
    async def stream(self, doc: Flat, **kwargs) -> Seen:
        for _ in range(doc.n):
            yield seen(doc)


def main():
    protocol, port = sys.argv[1:]
    client = Client(host='127.0.0.1', port=int(port), protocol=protocol)
    classes = {'/clash': Clash, '/flat': Flat, '/rich': Rich}
    for line in sys.stdin:
        endpoint, _, fields = line.partition(' ')
        kind = classes[endpoint]
        fields = json.loads(fields)
        for name in ('data', 'blob'):
            if isinstance(fields.get(name), str):
                fields[name] = fields[name].encode()
        for name in ('vec', 'mat', 'tensor'):
            if fields.get(name) is not None:
                fields[name] = np.array(fields[name], dtype='float32')
        found = client.post(
            endpoint, inputs=DocList[kind]([kind(**fields)]), return_type=DocList[Seen]
        )
        print(found[0].seen, flush=True)


if __name__ == '__main__':
    main()
