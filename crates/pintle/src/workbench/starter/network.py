#!/usr/bin/python3
"""A network plugin: each network is a bridge, each endpoint a pair of links, of which one end is a port of the bridge.
Their names are made of the ids, so the kernel remembers everything. It runs "ip" of iproute2."""
import json, os, socketserver, subprocess, threading
from http.server import BaseHTTPRequestHandler

# Also called so in config.json, as interface.socket. A path in PLUGIN_NAME serves for trying it out.
SOCKET = os.environ.get("PLUGIN_NAME", "/run/docker/plugins/starter.sock")


def ip(*words):
    done = subprocess.run(["ip", "-json", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout or "[]")


def exists(link):
    return os.path.exists(f"/sys/class/net/{link}") or any(one["ifname"] == link for one in ip("link", "show"))


def remove(link):
    try:
        ip("link", "del", link)
    except RuntimeError:
        # With its sandbox the kernel removes it too, at any moment.
        if exists(link):
            raise


def plug(network, endpoint):
    ip("link", "add", "np" + endpoint, "type", "veth", "peer", "name", "nc" + endpoint)
    ip("link", "set", "np" + endpoint, "master", "nb" + network, "up")


def call(method, request):
    network, endpoint = request.get("NetworkID", "")[:12], request.get("EndpointID", "")[:12]
    if method == "/Plugin.Activate":
        return {"Implements": ["NetworkDriver"]}
    if method == "/NetworkDriver.GetCapabilities":
        return {"Scope": "local"}
    if method == "/NetworkDriver.CreateNetwork":
        if (request.get("Options") or {}).get("com.docker.network.generic"):
            raise ValueError("there are no options")
        if not exists("nb" + network):
            ip("link", "add", "nb" + network, "type", "bridge")
        ip("link", "set", "nb" + network, "up")
        for pool in (request.get("IPv4Data") or []) + (request.get("IPv6Data") or []):
            if pool.get("Gateway"):
                ip("address", "replace", pool["Gateway"], "dev", "nb" + network)
    elif method == "/NetworkDriver.DeleteNetwork":
        remove("nb" + network)
    elif method == "/NetworkDriver.CreateEndpoint":
        if not exists("nb" + network):
            raise LookupError("no such network")
        if not exists("np" + endpoint):
            plug(network, endpoint)
    elif method == "/NetworkDriver.DeleteEndpoint":
        remove("np" + endpoint)
    elif method == "/NetworkDriver.Join":
        if not exists("np" + endpoint):
            raise LookupError("no such endpoint")
        if not exists("nc" + endpoint):  # the other end stayed in a sandbox
            remove("np" + endpoint)
            plug(network, endpoint)
        gateways = {"inet": "", "inet6": ""}
        for address in ip("address", "show", "dev", "nb" + network)[0]["addr_info"]:
            if address["scope"] == "global":
                gateways[address["family"]] = address["local"]
        names = {"SrcName": "nc" + endpoint, "DstPrefix": "eth"}
        return {"InterfaceName": names, "Gateway": gateways["inet"], "GatewayIPv6": gateways["inet6"]}
    elif method == "/NetworkDriver.EndpointOperInfo":
        return {"Value": {"bridge": "nb" + network}}
    elif method != "/NetworkDriver.Leave":
        return None
    return {}


