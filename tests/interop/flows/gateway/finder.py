from docarray import BaseDoc, DocList
from jina import Executor, requests


class Text(BaseDoc):
    text: str


class Finder(Executor):
    @requests(on='/find')
    def find(self, docs: DocList[Text], **kwargs) -> DocList[Text]:
        return DocList[Text]([Text(text=doc.text.upper()) for doc in docs])
