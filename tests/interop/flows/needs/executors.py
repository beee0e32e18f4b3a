from docarray import BaseDoc, DocList
from docarray.typing import NdArray
from jina import Executor, requests


class Product(BaseDoc):
    """What a shop has."""

    title: str
    picture: str = ''
    price: float = 0.0
    title_vector: NdArray[4] = None
    picture_vector: NdArray[4] = None


class Splitter(Executor):
    @requests(on='/encode')
    def split(self, docs: DocList[Product], **kwargs) -> DocList[Product]:
        for doc in docs:
            doc.picture = doc.picture or 'none'
        return docs


class ImageEncoder(Executor):
    @requests(on='/encode')
    def encode(self, docs: DocList[Product], **kwargs) -> DocList[Product]:
        for doc in docs:
            doc.picture_vector = [len(doc.picture)] * 4
        return docs


class TextEncoder(Executor):
    @requests(on='/encode')
    def encode(self, docs: DocList[Product], **kwargs) -> DocList[Product]:
        for doc in docs:
            doc.title_vector = [len(doc.title)] * 4
        return docs


class Joiner(Executor):
    @requests(on='/encode')
    def join(self, docs: DocList[Product], **kwargs) -> DocList[Product]:
        return docs
