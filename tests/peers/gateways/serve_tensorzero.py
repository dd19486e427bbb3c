"""Starts TensorZero's gateway with the configuration that is named, says where it listens, and stays.

Its wheel holds the gateway of the product, which this call starts over HTTP on a port of its own choice.
"""

import signal
import sys
import types
from urllib.parse import urlsplit

import tensorzero

client = types.SimpleNamespace()
tensorzero.patch_openai_client(client, config_file=sys.argv[1], async_setup=False)
print(f"listening on {urlsplit(str(client.base_url)).netloc}", flush=True)
signal.pause()
