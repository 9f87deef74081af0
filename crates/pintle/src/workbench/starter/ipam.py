#!/usr/bin/python3
"""An IPAM plugin: subnets of BASES, addresses from the lowest. Everything is in memory, and the engine is asked to tell
it again after a restart."""
import ipaddress, itertools, json, os, socketserver, threading
from http.server import BaseHTTPRequestHandler

# Also called so in config.json, as interface.socket. A path in PLUGIN_NAME serves for trying it out.
SOCKET = os.environ.get("PLUGIN_NAME", "/run/docker/plugins/starter.sock")
BASES = {False: ("10.224.0.0/14", 24), True: ("fd00:5374:6172::/48", 64)}
pools = {}


def request_pool(wanted, v6):
    overlaps = lambda one: any(p.version == one.version and p.overlaps(one) for p in map(ipaddress.ip_network, pools))
    if wanted:
        pool = ipaddress.ip_network(wanted)
    else:
        base, length = BASES[v6]
        subnets = ipaddress.ip_network(base).subnets(new_prefix=length)
        pool = next(one for one in subnets if not overlaps(one))
    if overlaps(pool):
        raise ValueError(f"{pool} is in use")
    pools[str(pool)] = set()
    return {"PoolID": str(pool), "Pool": str(pool), "Data": {}}


def request_address(pool_id, wanted):
    held, pool = pools[pool_id], ipaddress.ip_network(pool_id)
    if wanted:
        address = ipaddress.ip_address(wanted)
    else:
        free = (one for one in itertools.islice(pool.hosts(), 1 << 16) if one not in held)
        address = next(free, None)
        if address is None:
            raise ValueError(f"every address of {pool} is in use")
    if address not in pool or address in held:
        raise ValueError(f"{address} is in use, or not in {pool}")
    held.add(address)
    return {"Address": f"{address}/{pool.prefixlen}", "Data": {}}


def call(method, request):
    pool = request.get("PoolID", "")
    if method == "/Plugin.Activate":
        return {"Implements": ["IpamDriver"]}
    if method == "/IpamDriver.GetCapabilities":
        return {"RequiresMACAddress": False, "RequiresRequestReplay": True}
    if method == "/IpamDriver.GetDefaultAddressSpaces":
        return {"LocalDefaultAddressSpace": "starter", "GlobalDefaultAddressSpace": "starter"}
    if method == "/IpamDriver.RequestPool":
        if request.get("SubPool"):
            raise ValueError("there are no ranges")
        return request_pool(request.get("Pool"), bool(request.get("V6")))
    if method == "/IpamDriver.ReleasePool":
        pools.pop(pool, None)
    elif method == "/IpamDriver.RequestAddress":
        if pool not in pools:
            raise LookupError(f"no such pool: {pool}")
        return request_address(pool, request.get("Address"))
    elif method == "/IpamDriver.ReleaseAddress":
        pools.get(pool, set()).discard(ipaddress.ip_address(request["Address"]))
    return {}


