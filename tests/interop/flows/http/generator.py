from enum import Enum
from typing import Dict, List, Optional, Union

from docarray import BaseDoc, DocList
from docarray.typing import ImageUrl
from jina import Executor, requests


class Role(str, Enum):
    user = 'user'
    system = 'system'


class Turn(BaseDoc):
    role: Role = Role.user
    content: str


class Prompt(BaseDoc):
    prompt: str
    temperature: float = 0.7
    max_tokens: Optional[int] = None
    stop: List[str] = []
    options: Dict[str, float] = {}
    picture: Optional[ImageUrl] = None
    either: Union[int, str] = 1
    history: DocList[Turn] = DocList[Turn]()


class Answer(BaseDoc):
    text: str
    tags: List[str] = []


class Generator(Executor):
    @requests(on='/generate')
    def generate(self, docs: DocList[Prompt], **kwargs) -> DocList[Answer]:
        return DocList[Answer](
            [Answer(text=f'about {doc.prompt}', tags=doc.stop) for doc in docs]
        )

    @requests(on='/chat')
    async def chat(
        self,
        docs: DocList[Prompt],
        parameters: Dict,
        **kwargs,
    ) -> DocList[Answer]:
        return DocList[Answer]([Answer(text=str(len(doc.history))) for doc in docs])
