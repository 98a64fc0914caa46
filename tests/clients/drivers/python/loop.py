"""The loop of the Python drivers: one call a line, one answer a line."""

import json
import os
import sys

ENDPOINT = os.environ["ENDPOINT"]
ACCESS_KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = os.environ["AWS_REGION"]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, body):
    with open(path, "wb") as file:
        file.write(body)


def serve(calls):
    """Answers calls with the functions of `calls`; what they raise is the client's refusal."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        arguments = json.loads(line)
        call = calls.get(arguments.pop("op"))
        if call is None:
            answer = {"unable": True}
        else:
            try:
                answer = {"ok": call(**arguments)}
            except Exception as error:  # whatever a library raises is its answer
                answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
