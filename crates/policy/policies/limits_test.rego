package docker.authz_test

import data.docker.authz
import rego.v1

most := {"memory": 1000, "cpus": 2, "pids": 100}

within := {"Memory": 1000, "NanoCpus": 2000000000, "PidsLimit": 100}

create(host_config) := {"Method": "POST", "Route": "/containers/create", "Body": {"HostConfig": host_config}}

update(change) := {"Method": "POST", "Route": "/containers/x/update", "Body": change}

test_within if count(authz.deny) == 0 with input as create(within) with data.limits as most

test_quotas_are_limits_of_cpus if {
	quota := {"Memory": 1, "CpuQuota": 150000, "CpuPeriod": 100000, "PidsLimit": 1}
	count(authz.deny) == 0 with input as create(quota) with data.limits as most
	count(authz.deny) == 1 with input as create(object.union(quota, {"CpuQuota": 250000})) with data.limits as most
}

test_none_or_more if {
	count(authz.deny) == 3 with input as create({}) with data.limits as most
	count(authz.deny) == 3 with input as {"Method": "POST", "Route": "/containers/create", "Body": {}} with data.limits as most
	count(authz.deny) == 1 with input as create(object.union(within, {"Memory": 1001})) with data.limits as most
	count(authz.deny) == 1 with input as create(object.union(within, {"PidsLimit": -1})) with data.limits as most
}

test_updates_stay_within if {
	count(authz.deny) == 0 with input as update({"Memory": 500}) with data.limits as most
	count(authz.deny) == 1 with input as update({"Memory": 2000}) with data.limits as most
	count(authz.deny) == 1 with input as update({"PidsLimit": -1}) with data.limits as most
}

test_what_is_not_limited if count(authz.deny) == 0 with input as create({}) with data.limits as {}

test_other_requests if count(authz.deny) == 0 with input as {"Method": "DELETE", "Route": "/containers/x"} with data.limits as most
