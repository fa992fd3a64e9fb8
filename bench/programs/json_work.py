"""json.dumps and json.loads of nested documents. Usage: json_work.py ROUNDS"""

import json
import random
import sys


def document(source: random.Random) -> dict:
    """One order: strings, numbers, lists and dictionaries."""
    return {
        "id": source.randrange(10**9),
        "customer": {"name": "n" * source.randrange(5, 40), "tags": [str(i) for i in range(source.randrange(8))]},
        "lines": [
            {"sku": f"sku-{source.randrange(10**6)}", "price": source.random(), "text": "t" * source.randrange(600)}
            for _ in range(source.randrange(1, 12))
        ],
    }


def main() -> None:
    source = random.Random(7)
    documents = [document(source) for _ in range(500)]
    total = 0
    for _ in range(int(sys.argv[1])):
        total += sum(len(json.loads(json.dumps(one))["lines"]) for one in documents)
    print(total)


main()
