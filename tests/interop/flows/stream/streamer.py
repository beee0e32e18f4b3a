from docarray import BaseDoc
from jina import Executor, requests


class Prompt(BaseDoc):
    prompt: str
    max_tokens: int = 5


class Token(BaseDoc):
    token: str
    position: int = 0


class TokenStreamer(Executor):
    @requests(on='/stream')
    async def stream(self, doc: Prompt, **kwargs) -> Token:
        for i in range(doc.max_tokens):
            yield Token(token=f'{doc.prompt} {i}', position=i)
