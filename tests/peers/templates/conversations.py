"""What the chat templates are given. Small, and with something in every place that templates treat differently."""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather <now> & \"here\", in °C.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its name"},
                    "days": {"type": "integer", "description": "", "minimum": 1, "default": 2.0},
                    "unit": {"type": "string", "description": "°C or °F", "enum": ["c", "f"]},
                },
                "required": ["city"],
            },
        },
    }
]
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hello, <you> & 'me'!"}
ASSISTANT = {"role": "assistant", "content": " Hi — what's up? "}
QUESTION = {"role": "user", "content": "Is it \"cold\"\nin Zürich?"}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdef123",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 1, "exact": True, "note": None}},
        }
    ],
}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"celsius\": -3.5}"}

# (messages, whether tools are given); the latter only for templates that speak of tools.
CONVERSATIONS = {
    "chat": ([USER, ASSISTANT, QUESTION], False),
    "system": ([SYSTEM, QUESTION], False),
    "tools": ([SYSTEM, QUESTION], True),
    "call": ([QUESTION, CALL, RESULT], True),
}
