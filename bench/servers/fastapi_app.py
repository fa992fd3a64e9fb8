"""A small FastAPI service: path and query parameters in, validated JSON out."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    """What one request answers with."""

    id: int
    name: str
    tags: list[str]
    price: float


@app.get("/items/{item_id}", response_model=list[Item])
async def items(item_id: int, count: int = 5) -> list[Item]:
    """`count` items from `item_id` on."""
    return [Item(id=item_id + i, name=f"item {i}", tags=["a", "b" * i], price=i * 1.5) for i in range(count)]
