"""A small Flask service: a rendered table."""

from flask import Flask, render_template_string

app = Flask(__name__)

PAGE = """<!doctype html><title>{{ title }}</title>
<table>{% for row in rows %}<tr><td>{{ row.id }}</td><td>{{ row.name }}</td></tr>{% endfor %}</table>"""


@app.get("/page/<int:start>")
def page(start: int) -> str:
    """Twenty rows from `start` on."""
    rows = [{"id": start + i, "name": f"row <{i}>"} for i in range(20)]
    return render_template_string(PAGE, title=f"from {start}", rows=rows)
