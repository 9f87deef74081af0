#!/usr/bin/python3
"""An authorization plugin: nobody does what DENIED says. It is asked before every request, and again before the answer is
sent; an error and no answer count as a no."""
import json, os, re, socketserver, threading
from http.server import BaseHTTPRequestHandler

# Also called so in config.json, as interface.socket. A path in PLUGIN_NAME serves for trying it out.
SOCKET = os.environ.get("PLUGIN_NAME", "/run/docker/plugins/starter.sock")
# Methods, and patterns that the whole path must match.
DENIED = [("DELETE", r"/volumes/.+"), ("POST", r"/volumes/prune")]


def call(method, request):
    if method == "/Plugin.Activate":
        return {"Implements": ["authz"]}
    if method == "/AuthZPlugin.AuthZRes":
        return {"Allow": True}
    if method == "/AuthZPlugin.AuthZReq":
        # Who asks is request["User"]; what the request says is base64 in request["RequestBody"], if it is JSON.
        path = re.sub(r"^/v[0-9.]+(?=/)", "", request.get("RequestUri", "").split("?")[0])
        for verb, pattern in DENIED:
            if request.get("RequestMethod") == verb and re.fullmatch(pattern, path):
                return {"Allow": False, "Msg": f"{verb} {path} is not for you"}
        return {"Allow": True}


