#!/usr/bin/python3
"""A log plugin: the lines of each container go into a file of their own, as JSON. An engine names a pipe for each container
that runs; what comes through it are frames, a length in four bytes and a message of protocol buffers."""
import json, os, socketserver, struct, threading
from http.server import BaseHTTPRequestHandler

# Also called so in config.json, as interface.socket. A path in PLUGIN_NAME serves for trying it out.
SOCKET = os.environ.get("PLUGIN_NAME", "/run/docker/plugins/starter.sock")
ROOT = os.environ.get("ROOT", "/mnt/logs")
streams = {}


def number(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(message):
    """The fields of a message: 1 is the stream's name, 2 the time in nanoseconds, 3 the line, 4 whether it goes on."""
    found, at = {}, 0
    while at < len(message):
        key, at = number(message, at)
        if key & 7 == 2:
            length, at = number(message, at)
            found[key >> 3] = message[at : at + length]
            at += length
        else:
            found[key >> 3], at = number(message, at)
    return found


def copy(pipe, path):
    with pipe, open(path, "ab") as out:
        while len(head := pipe.read(4)) == 4:
            entry = fields(pipe.read(struct.unpack(">I", head)[0]))
            line = {"time": entry.get(2, 0), "stream": entry.get(1, b"").decode()}
            line["line"] = entry.get(3, b"").decode(errors="replace")
            out.write(json.dumps(line).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())


def call(method, request):
    if method == "/Plugin.Activate":
        return {"Implements": ["LogDriver"]}
    if method == "/LogDriver.Capabilities":
        return {"Cap": {"ReadLogs": False}}
    if method == "/LogDriver.StartLogging":
        # What the user gave with --log-opt is in request["Info"]["Config"].
        name = (request.get("Info") or {}).get("ContainerName", "").strip("/").replace("/", "_")
        os.makedirs(ROOT, exist_ok=True)
        pipe = open(request["File"], "rb")
        copier = threading.Thread(target=copy, args=(pipe, f"{ROOT}/{name}.jsonl"), daemon=True)
        streams[request["File"]] = copier
        copier.start()
        return {}
    if method == "/LogDriver.StopLogging":
        # The engine closes the pipe when this has answered; what is in it is read all the same.
        streams.pop(request["File"], None)
        return {}


