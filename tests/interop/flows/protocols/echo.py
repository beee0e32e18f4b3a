from docarray import DocList
from jina import Executor, requests


class Echo(Executor):
    @requests(on=['/index', '/search'])
    def echo(self, docs: DocList, **kwargs) -> DocList:
        return docs
