"""Every frame, read by the SDK's own types, strictly: no coercion, no missing field, none that the SDK does not know."""

import json

import pydantic

from checks import want


def check(exchange, whole, event):
    """Looks at an answer with status 200: `whole` reads a body, `event` one event's data (by its name)."""
    if exchange.status != 200:
        return
    if exchange.content_type.startswith("text/event-stream"):
        for name, data in events(exchange.body):
            event(name, data)
    else:
        whole(exchange.body.decode())


def events(body):
    """The events of a stream as (name or None, data)."""
    found, name, data = [], None, []
    lines = body.decode().replace("\r\n", "\n").split("\n")
    want(lines[-1] == "" and (len(lines) < 2 or lines[-2] == ""), "the stream ends within an event")
    for line in lines:
        if not line:
            if data:
                found.append((name, "\n".join(data)))
            name, data = None, []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith("event:"):
            name = line[6:].strip()
        else:
            want(line.startswith(":"), f"a line that is no field: {line!r:.200}")
    return found


def read(kind, text, beyond=()):
    """`text` as a `kind`; fields in `beyond` are of the provider's reference, and the SDK does not know them yet."""
    try:
        value = pydantic.TypeAdapter(kind).validate_json(without(text, beyond), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        want(False, f"{getattr(kind, '__name__', 'event')}: {place}: {first['msg']} in {text!s:.400}")
    unknown = list(extras(value, ""))
    want(not unknown, f"fields that the SDK does not know: {', '.join(unknown)} in {text!s:.400}")
    return value


def models(exchange, kind, beyond=()):
    """A list of models, or one."""
    if exchange.status == 200:
        answer = json.loads(exchange.body)
        for model in answer.get("data") or answer.get("models") or [answer]:
            read(kind, json.dumps(model), beyond)


def without(text, beyond):
    if not beyond:
        return text
    value = json.loads(text)
    for path in beyond:
        drop(value, path.split("."))
    return json.dumps(value)


def drop(value, path):
    """Drops what lies at `path`, in every element of a list on the way."""
    for inner in value if isinstance(value, list) else [value]:
        if not isinstance(inner, dict):
            continue
        if len(path) == 1:
            inner.pop(path[0], None)
        else:
            drop(inner.get(path[0]), path[1:])


def extras(value, place):
    if isinstance(value, pydantic.BaseModel):
        for name in value.model_extra or {}:
            yield f"{place}.{name}"
        for name in type(value).model_fields:
            yield from extras(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from extras(item, f"{place}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from extras(item, f"{place}.{name}")
