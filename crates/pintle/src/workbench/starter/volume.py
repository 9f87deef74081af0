#!/usr/bin/python3
"""A volume plugin: each volume is a directory below ROOT, which is the plugin's propagated mount."""
import json, os, re, shutil, socketserver, threading
from http.server import BaseHTTPRequestHandler

# Also called so in config.json, as interface.socket. A path in PLUGIN_NAME serves for trying it out.
SOCKET = os.environ.get("PLUGIN_NAME", "/run/docker/plugins/starter.sock")
ROOT = os.environ.get("ROOT", "/mnt/volumes")
holders = {}  # who has which volume mounted
os.makedirs(ROOT, exist_ok=True)


def path(name, must_exist=True):
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r} is not a name for a volume")
    if must_exist and not os.path.isdir(f"{ROOT}/{name}"):
        raise LookupError(f"no such volume: {name}")
    return f"{ROOT}/{name}"


def volume(name):
    where = path(name)
    return {"Name": name, "Mountpoint": where if holders.get(name) else ""}


def call(method, request):
    name = request.get("Name", "")
    if method == "/Plugin.Activate":
        return {"Implements": ["VolumeDriver"]}
    if method == "/VolumeDriver.Capabilities":
        return {"Capabilities": {"Scope": "local"}}
    if method == "/VolumeDriver.Create":
        if request.get("Opts"):
            raise ValueError("there are no options")
        os.makedirs(path(name, must_exist=False), exist_ok=True)
    elif method == "/VolumeDriver.Remove":
        where = path(name)
        if holders.get(name):
            raise RuntimeError(f"{name} is mounted")
        shutil.rmtree(where)
    elif method == "/VolumeDriver.Mount":
        where = path(name)
        holders.setdefault(name, []).append(request["ID"])
        return {"Mountpoint": where}
    elif method == "/VolumeDriver.Unmount":
        path(name)
        if request["ID"] in holders.get(name, []):
            holders[name].remove(request["ID"])
    elif method == "/VolumeDriver.Path":
        return {"Mountpoint": volume(name)["Mountpoint"]}
    elif method == "/VolumeDriver.Get":
        return {"Volume": volume(name)}
    elif method == "/VolumeDriver.List":
        return {"Volumes": [volume(name) for name in sorted(os.listdir(ROOT))]}
    return {}


