import numpy as np
from docarray import BaseDoc, DocList
from docarray.typing import NdArray
from jina import Executor, requests


class Sentence(BaseDoc):
    text: str


class Embedded(BaseDoc):
    text: str
    embedding: NdArray[8]


class Encoder(Executor):
    @requests
    def encode(self, docs: DocList[Sentence], **kwargs) -> DocList[Embedded]:
        return DocList[Embedded](
            [Embedded(text=doc.text, embedding=np.ones(8)) for doc in docs]
        )
