"""Two Flows share an index on disk: one writes it, the other finds in it."""
import json
import os

from docarray import BaseDoc, DocList
from jina import Executor, requests

PLACE = os.environ.get('INDEX_FILE', 'index.jsonl')


class Article(BaseDoc):
    title: str
    body: str = ''


class Query(BaseDoc):
    text: str


class Found(BaseDoc):
    query: str
    titles: list[str] = []


class Indexer(Executor):
    @requests(on='/index')
    def index(self, docs: DocList[Article], **kwargs) -> DocList[Article]:
        with open(PLACE, 'a') as file:
            for doc in docs:
                file.write(json.dumps({'title': doc.title}) + '\n')
        return docs


class Searcher(Executor):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with open(PLACE) as file:
            self.titles = [json.loads(line)['title'] for line in file]

    @requests(on='/search')
    def search(self, docs: DocList[Query], **kwargs) -> DocList[Found]:
        return DocList[Found](
            [Found(query=doc.text, titles=self.titles[:3]) for doc in docs]
        )
