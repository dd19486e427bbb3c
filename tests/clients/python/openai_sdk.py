"""What the OpenAI SDK has in both of its ways to chat: its errors, by status, and how it is set up."""

import json

import openai
from openai import OpenAI
from openai.types.shared import ErrorObject

import scenarios
import strict
from checks import equal, raises

KINDS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
}


class Client(scenarios.Client):
    statuses = {
        "status-400": 400,
        "bad-key": 401,
        "status-403": 403,
        "status-404": 404,
        "quota": 429,
        "limited-retry-after": 429,
        "status-500": 500,
        "status-503": 503,
        "no-such-behaviour": 404,
    }
    broken = {"error-first": None, "error-in-stream": None}

    def connect(self, url, key, timeout):
        return OpenAI(base_url=f"{url}/v1", api_key=key, timeout=timeout, max_retries=0)

    def fails(self, status, call):
        return raises(KINDS.get(status, openai.InternalServerError), status, call)

    def error(self, text):
        said = json.loads(text)
        equal(list(said), ["error"], "fields around an error")
        strict.read(ErrorObject, json.dumps(said["error"]))

    def breaks(self, _status, call):
        # The SDK knows no status of an event.
        raises(openai.APIError, None, call)
