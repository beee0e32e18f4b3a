#!/usr/bin/env python3
"""Says what docarray reads in Documents that somebody else wrote, and writes them itself.

stdin: a DocumentArrayProto (docarray < 0.30) or a DocListProto. With the argument `typed` (docarray
>= 0.30) the Documents are of the schema `Typed` below, else of Jina's default schema.

stdout: {"docs": [...], "again": base64 of what docarray writes for them}. In `docs` a Document is an
object of its fields that are set; bytes are {"base64": ...}, arrays {"dtype", "shape", "base64"} in C
order, sets and tuples {"set": [...]} (sorted) and {"tuple": [...]}.
"""
import base64
import json
import os
import sys

os.environ['JINA_OPTOUT_TELEMETRY'] = '1'
os.environ['JINA_OPT_OUT_TELEMETRY'] = '1'

import docarray  # noqa: E402
import numpy as np  # noqa: E402

V2 = hasattr(docarray, 'DocList')


def plain(value):
    if isinstance(value, np.ndarray):
        array = np.asarray(value)
        data = base64.b64encode(array.tobytes()).decode()
        return {'dtype': array.dtype.str, 'shape': list(array.shape), 'base64': data}
    if isinstance(value, bytes):
        return {'base64': base64.b64encode(value).decode()}
    if V2 and isinstance(value, docarray.BaseDoc):
        # Not dict(value): a field that is not of the schema shows, if there is one.
        return {k: plain(v) for k, v in value.__dict__.items() if not unset(v)}
    if not V2 and isinstance(value, docarray.Document):
        return v1_document(value)
    if V2 and isinstance(value, docarray.DocList) or isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, tuple):
        return {'tuple': [plain(v) for v in value]}
    if isinstance(value, (set, frozenset)):
        return {'set': sorted((plain(v) for v in value), key=json.dumps)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str):
        return str(value)
    return value


def unset(value):
    return value is None or isinstance(value, (str, dict, list, docarray_list)) and not len(value)


docarray_list = docarray.DocList if V2 else docarray.DocumentArray


def v1_document(doc):
    fields = {}
    for name in doc.non_empty_fields:
        value = getattr(doc, name)
        if name in ('chunks', 'matches'):
            value = [v1_document(d) for d in value]
        elif name in ('scores', 'evaluations'):
            value = {
                key: {f: getattr(score, f) for f in score.non_empty_fields}
                for key, score in value.items()
            }
        else:
            value = plain(value)
        fields[name] = value
    return fields


def main():
    data = sys.stdin.buffer.read()
    if not V2:
        from docarray.proto.docarray_pb2 import DocumentArrayProto

        message = DocumentArrayProto.FromString(data)
        docs = docarray.DocumentArray.from_protobuf(message)
    else:
        from docarray.proto import DocListProto

        message = DocListProto.FromString(data)
        if 'typed' in sys.argv[1:]:
            schema = Typed
        else:
            from jina._docarray import LegacyDocumentJina as schema
        docs = docarray.DocList[schema].from_protobuf(message)
    again = docs.to_protobuf().SerializeToString()
    told = {'docs': [plain(doc) for doc in docs], 'again': base64.b64encode(again).decode()}
    json.dump(told, sys.stdout)


if V2:
    from typing import Any, Dict, List, Optional, Set, Tuple

    from docarray.typing import ImageUrl, NdArray

    class Inner(docarray.BaseDoc):
        number: int
        name: Optional[str] = None

    class Typed(docarray.BaseDoc):
        integer: int
        real: float
        yes: bool
        raw: bytes
        word: str
        image: ImageUrl
        array: NdArray
        nothing: Optional[str] = None
        words: List[str]
        unique: Set[str]
        pair: Tuple[int, str]
        free: Dict[str, Any]
        inner: Inner
        inners: docarray.DocList[Inner]


if __name__ == '__main__':
    main()
