#!/usr/bin/env python3
"""Makes the Documents of generation.rs with docarray 0.21 and encodes them as Jina requests.

Prints a line of JSON for each kind: {"kind", "documents", "bytes"}, the latter two per second of CPU time; the best of
twelve rounds.
"""
import json
import random
import time

import numpy as np
from docarray import Document, DocumentArray

WORDS = 'the of and to in is that for it as was with be by on not he his but at are this have from or had an they'.split()
SECONDS = 0.4


def words(low, high):
    return ' '.join(random.choice(WORDS) for _ in range(random.randint(low, high)))


def short_text(i):
    return Document(id=f'article-{i}', text=words(5, 30))


def floats(i):
    vector = rng.standard_normal(768, dtype=np.float32)
    return Document(id=f'article-{i}', embedding=vector / np.linalg.norm(vector))


def blob(i):
    return Document(id=f'image-{i}', blob=rng.bytes(1 << 20), mime_type='image/jpeg')


def nested(i):
    document = Document(id=f'page-{i}', tags={'lang': random.choice(['en', 'de']), 'price': random.uniform(1, 100)})
    for _ in range(3):
        document.chunks.append(Document(text=words(10, 10), embedding=rng.standard_normal(8, dtype=np.float32)))
    for _ in range(2):
        document.matches.append(Document(text='match'))
    return document


def measure(make, size):
    count = total = 0
    start, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - start < SECONDS:
        array = DocumentArray([make(i) for i in range(count, count + size)])
        total += len(array.to_protobuf().SerializeToString())
        count += size
    seconds = time.process_time() - cpu
    return count / seconds, total / seconds


rng = np.random.default_rng(1)
for kind, make, size in [('short text', short_text, 100), ('768 floats', floats, 100), ('1 MiB blob', blob, 1), ('nested', nested, 100)]:
    documents, size_s = max(measure(make, size) for _ in range(12))
    print(json.dumps({'kind': kind, 'documents': documents, 'bytes': size_s}), flush=True)
