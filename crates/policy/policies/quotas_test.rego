package docker.authz_test

import data.docker.authz
import rego.v1

most := {"*": {"containers": 2, "running": 1, "memory": 1000, "cpus": 2}}

create(user, have, host) := {
	"Method": "POST", "Route": "/containers/create", "User": user, "Body": {"HostConfig": host},
	"Context": {"Usage": object.union({"Containers": 0, "Running": 0, "Memory": 0, "NanoCpus": 0, "Volumes": 0, "Networks": 0}, have)},
}

small := {"Memory": 400, "NanoCpus": 1000000000}

test_within if {
	count(authz.deny) == 0 with input as create("ann", {}, small) with data.quotas as most
	authz.merge_request == {{"Labels": {"pintle.owner": "ann"}}} with input as create("ann", {}, small) with data.quotas as most
}

test_too_many if {
	authz.deny == {"ann may have 2 containers"} with input as create("ann", {"Containers": 2}, small) with data.quotas as most
	count(authz.deny) == 0 with input as create("root", {"Containers": 2}, small) with data.quotas as most with data.admins as ["root"]
}

test_too_much if {
	count(authz.deny) == 1 with input as create("ann", {"Memory": 700}, small) with data.quotas as most
	count(authz.deny) == 2 with input as create("ann", {}, {}) with data.quotas as most
	count(authz.deny) == 1 with input as create("ann", {"NanoCpus": 1500000000}, small) with data.quotas as most
	count(authz.deny) == 1 with input as create("ann", {}, {"Memory": 1, "CpuQuota": 300000}) with data.quotas as most
}

test_running if {
	asked := {"Method": "POST", "Route": "/containers/x/start", "User": "ann", "Context": {"Usage": {"Running": 1}}}
	authz.deny == {"ann may have 1 running containers"} with input as asked with data.quotas as most
}

test_own_quota if {
	count(authz.deny) == 0 with input as create("bob", {"Containers": 2}, {}) with data.quotas as object.union(most, {"bob": {"containers": 3}})
}

test_updates if {
	asked := {"Method": "POST", "Route": "/containers/x/update", "User": "ann", "Body": {"Memory": 5000}, "Context": {"Usage": {}}}
	count(authz.deny) == 1 with input as asked with data.quotas as most
}

test_claims if {
	asked := object.union(create("ann", {}, small), {"Body": {"Labels": {"pintle.owner": "bob"}}})
	count(authz.deny) == 1 with input as asked with data.quotas as most
}

test_without_context if {
	asked := {"Method": "POST", "Route": "/volumes/create", "User": "ann", "Body": {}}
	count(authz.deny) == 1 with input as asked with data.quotas as most
	count(authz.deny) == 0 with input as asked with data.quotas as {}
}
