#!/usr/bin/env python3
"""Orders an export over HTTP, waits for its end and downloads the clips.

    CLIPFERRY_URL=http://127.0.0.1:8080 CLIPFERRY_KEY=… examples/order.py proj_abc123 order-4711

Needs Python 3.8 or newer and no packages.
"""

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request

API = os.environ["CLIPFERRY_URL"] + "/api/v2/clips/export"
HEADERS = {
    "Authorization": "Bearer " + os.environ["CLIPFERRY_KEY"],
    "x-wayinvideo-api-version": "v2",
    "Content-Type": "application/json",
}


def call(url, body=None, headers=None, tries=6):
    """Sends a request, again while the server cannot be reached, is busy or fails."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {**HEADERS, **(headers or {})})
    for left in reversed(range(tries)):
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as err:
            if left == 0 or err.code != 429 and err.code < 500:
                sys.exit(f"{err.code}: {err.read().decode(errors='replace')}")
            time.sleep(float(err.headers.get("Retry-After") or 2))
        except OSError as err:
            if left == 0:
                sys.exit(f"{url}: {err}")
            time.sleep(2)


def main(project, order):
    # The Idempotency-Key makes it safe to order again when the answer was lost.
    ordered = call(API, {"project_id": project}, {"Idempotency-Key": f'"{order}"'})
    task = ordered["export_task_id"]
    print("ordered:", task, file=sys.stderr)

    while True:
        export = call(f"{API}/{task}")
        if export["status"] == "FAILED":
            sys.exit(export["error_message"])
        if export["status"] == "SUCCEEDED":
            break
        time.sleep(float(os.environ.get("POLL_SECONDS", "5")))

    for clip in export["clips"]:
        name = f"{order}-{clip['idx']}.mp4"
        # The link leads to S3 by a redirect, and needs no key.
        with urllib.request.urlopen(clip["export_link"], timeout=60) as source, open(name, "wb") as file:
            shutil.copyfileobj(source, file)
        print(name)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
