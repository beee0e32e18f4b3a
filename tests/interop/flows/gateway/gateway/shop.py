from docarray import BaseDoc, DocList
from fastapi import FastAPI
from jina.serve.runtimes.gateway.http.fastapi import FastAPIBaseGateway
from pydantic import BaseModel


class Text(BaseDoc):
    text: str


class Search(BaseModel):
    query: str
    limit: int = 3


class ShopGateway(FastAPIBaseGateway):
    @property
    def app(self):
        app = FastAPI(title='Shop')

        @app.get('/health')
        async def health():
            return {'ok': True}

        @app.post('/api/v1/search')
        async def search(body: Search):
            docs = await self.executor['finder'].post(
                on='/find',
                inputs=DocList[Text]([Text(text=body.query)]),
                return_type=DocList[Text],
            )
            found = [doc.text for doc in docs]
            return {'query': body.query, 'found': found[: body.limit]}

        return app
