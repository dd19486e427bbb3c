# llama.cpp's Python server: an OpenAI-compatible API of another make, behind a key. Sourced by `make peers` and the demo.
# shellcheck shell=bash

# Checks of tests/clients/openai_client.py that it doesn't pass, and no gateway could make up for: max_completion_tokens,
# content in parts, a usage with streams, and refusing values that make no sense.
beyond_llama_cpp=(chat-max-tokens chat-content-parts chat-stream-usage completion-stream
    bad-max-tokens bad-max-tokens-streamed bad-sampling bad-messages)

# Becomes the server, so only in the background. One thread: it shares two cores with our engine. Without the last
# flag it ends a running stream when another request comes.
llama_cpp_server() { # PYTHON WEIGHTS HOST PORT KEY
    exec "$1" -m llama_cpp.server --model "$2" --model_alias smollm2-llama-cpp --host "$3" --port "$4" --api_key "$5" \
        --n_ctx 4096 --n_threads 1 --interrupt_requests false
}
