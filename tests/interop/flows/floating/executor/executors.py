import time

from docarray import BaseDoc, DocList
from docarray.typing import NdArray
from jina import Executor, requests


class Note(BaseDoc):
    text: str
    vector: NdArray = None


class Encoder(Executor):
    @requests(on='/note')
    def encode(self, docs: DocList[Note], **kwargs) -> DocList[Note]:
        with self.monitor('encode_seconds', 'time to encode'):
            for doc in docs:
                doc.vector = [0.5] * 8
        return docs


class Logger(Executor):
    @requests(on='/note')
    def log(self, docs: DocList[Note], **kwargs) -> DocList[Note]:
        time.sleep(0.05)  # nobody waits for it
        return docs
