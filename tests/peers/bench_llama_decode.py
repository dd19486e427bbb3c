#!/usr/bin/env python3
"""Measures llama.cpp on command, so that a benchmark can interleave its runs with ours.

    bench_llama_decode.py --model MODEL.gguf [--threads 2] [--context 4096] [--batch 512]

Speaks JSON, one object a line, on stdin and stdout. The first line it prints is the `ready` one,
with versions and what CPU features llama.cpp was built with. Then, for each command, one answer:

    {"cmd":"decode","prompt_tokens":512,"tokens":128}     tokens generated one by one at batch 1
    {"cmd":"prefill","tokens":512}                        a prompt read in batches of --batch
    {"cmd":"fill","tokens":8192}                          a prompt read, to be gone on from
    {"cmd":"go_on","tokens":128}                          tokens generated after it, then forgotten
    {"cmd":"greedy","prompt_ids":[1,2,3],"tokens":64}     the greedy continuation, and how fast
    {"cmd":"memory"}                                      this process's resident bytes
    {"cmd":"quit"}

`decode` takes `"sample":"greedy"` to feed back the best token (with the cost of finding it); else
the tokens are a fixed sequence, as llama.cpp's own llama-bench does it. Only the decoding is timed:
not the load, not the prompt of a decode run. A command that can't be done answers {"error":…}.
Between commands this process sleeps: it takes nothing from the engine that is measured next.
"""

import argparse
import json
import os
import resource
import sys
import time
from importlib.metadata import version

import llama_cpp as lc
import numpy as np

import llama


def resident_bytes():
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class Bench:
    def __init__(self, arguments):
        start = time.perf_counter()
        self.engine = llama.Llama(
            arguments.model, context=arguments.context, batch=arguments.batch, threads=arguments.threads
        )
        self.loaded = time.perf_counter() - start
        self.arguments = arguments
        # Ids that mean something to any vocabulary: nothing special, spread over the embedding table.
        spread = max(self.engine.vocab_size - 2000, 1)
        first = min(1000, self.engine.vocab_size - spread)
        self.sequence = [first + (i * 7919) % spread for i in range(arguments.context + 1)]
        self.token = (lc.llama_token * 1)()
        self.filled = 0
        # The first run pages the weights in and builds the graphs: nobody's figure.
        self.prefill(min(8, arguments.context - 4))
        self.decode(0, 4)

    def ready(self):
        return {
            "event": "ready",
            "llama_cpp_python": version("llama-cpp-python"),
            "system_info": llama.system_info(),
            "cpu": llama.cpu_name(),
            "model": os.path.basename(self.arguments.model),
            "parameters": int(lc.llama_model_n_params(self.engine.model)),
            "threads": self.arguments.threads,
            "context": self.arguments.context,
            "batch": self.arguments.batch,
            "load_seconds": round(self.loaded, 4),
        }

    def feed(self, ids):
        """A prompt, in batches, positions following on; returns when it is computed."""
        for start in range(0, len(ids), self.arguments.batch):
            part = ids[start : start + self.arguments.batch]
            # Named, because the batch only points to it: a temporary would be freed before it is read.
            tokens = (lc.llama_token * len(part))(*part)
            # batch_get_one asks for the logits of the last token alone, as a server does.
            self.check(lc.llama_decode(self.engine.context, lc.llama_batch_get_one(tokens, len(part))))
        lc.llama_synchronize(self.engine.context)

    def step(self, token):
        self.token[0] = token
        self.check(lc.llama_decode(self.engine.context, lc.llama_batch_get_one(self.token, 1)))
        # Decoding may be asynchronous; reading the logits waits for it.
        return lc.llama_get_logits_ith(self.engine.context, -1)

    @staticmethod
    def check(status):
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")

    def best(self, logits):
        return int(np.argmax(np.ctypeslib.as_array(logits, shape=(self.engine.vocab_size,))))

    def empty(self):
        self.filled = 0
        self.engine.clear()

    def fit(self, needed):
        if needed > self.arguments.context:
            raise ValueError(f"{needed} tokens don't fit a context of {self.arguments.context}")

    def decode(self, prompt_tokens, tokens, sample="none"):
        if sample not in ("none", "greedy"):
            raise ValueError("sample is none or greedy")
        if prompt_tokens < 0 or tokens < 1:
            raise ValueError("prompt_tokens must be at least 0 and tokens at least 1")
        self.fit(prompt_tokens + tokens)
        self.empty()
        self.feed(self.sequence[:prompt_tokens])
        token = self.sequence[prompt_tokens]
        start = time.perf_counter()
        for i in range(tokens):
            logits = self.step(token)
            token = self.best(logits) if sample == "greedy" else self.sequence[prompt_tokens + i + 1]
        return self.figures("decode", tokens, time.perf_counter() - start, prompt_tokens=prompt_tokens, sample=sample)

    def prefill(self, tokens):
        if tokens < 1:
            raise ValueError("tokens must be at least 1")
        self.fit(tokens)
        self.empty()
        start = time.perf_counter()
        self.feed(self.sequence[:tokens])
        return self.figures("prefill", tokens, time.perf_counter() - start)

    def fill(self, tokens):
        answer = {**self.prefill(tokens), "cmd": "fill"}
        self.filled = tokens
        return answer

    def go_on(self, tokens):
        if self.filled < 1 or tokens < 1:
            raise ValueError("fill comes first, and tokens must be at least 1")
        self.fit(self.filled + tokens)
        start = time.perf_counter()
        for i in range(tokens):
            self.step(self.sequence[self.filled + i])
        seconds = time.perf_counter() - start
        if not lc.llama_memory_seq_rm(lc.llama_get_memory(self.engine.context), 0, self.filled, -1):
            raise RuntimeError("llama.cpp could not forget what was generated")
        return self.figures("go_on", tokens, seconds, prompt_tokens=self.filled)

    def greedy(self, prompt_ids, tokens):
        if not prompt_ids or tokens < 1:
            raise ValueError("prompt_ids must not be empty and tokens at least 1")
        self.fit(len(prompt_ids) + tokens)
        self.empty()
        begin = time.perf_counter()
        self.feed(prompt_ids)
        token = self.best(lc.llama_get_logits_ith(self.engine.context, -1))
        first = time.perf_counter()
        ids = [token]
        while len(ids) < tokens:
            token = self.best(self.step(token))
            ids.append(token)
        seconds = time.perf_counter() - first
        answer = self.figures("greedy", tokens - 1, seconds, prompt_tokens=len(prompt_ids)) if tokens > 1 else {"cmd": "greedy"}
        return {**answer, "ids": ids, "first_token_seconds": round(first - begin, 6)}

    @staticmethod
    def figures(command, tokens, seconds, **more):
        return {
            "cmd": command, **more, "tokens": tokens, "seconds": round(seconds, 6),
            "tokens_per_second": round(tokens / seconds, 3),
        }

    def answer(self, line):
        command = json.loads(line)
        name = command.pop("cmd", None)
        if name == "memory":
            return {"cmd": "memory", "resident_bytes": resident_bytes()}
        if name not in ("decode", "prefill", "fill", "go_on", "greedy"):
            raise ValueError(f"unknown command {name!r}")
        return getattr(self, name)(**command)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=512)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    print(json.dumps(bench.ready()), flush=True)
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            if json.loads(line).get("cmd") == "quit":
                break
            answer = bench.answer(line)
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
