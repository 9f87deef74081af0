package docker.authz_test

import data.docker.authz
import rego.v1

create(host_config) := {"Method": "POST", "Route": "/containers/create", "Body": {"HostConfig": host_config}}

test_an_ordinary_container_is_made if {
	count(authz.deny) == 0 with input as create({"NetworkMode": "bridge", "CapAdd": null, "SecurityOpt": ["no-new-privileges"]})
	count(authz.deny) == 0 with input as {"Method": "POST", "Route": "/containers/create", "Body": {}}
	count(authz.deny) == 0 with input as {"Method": "POST", "Route": "/volumes/create", "Body": {"Name": "x"}}
}

test_each_way_to_the_host_is_closed if {
	count(authz.deny) == 1 with input as create({"Privileged": true})
	count(authz.deny) == 1 with input as create({"PidMode": "host"})
	count(authz.deny) == 2 with input as create({"NetworkMode": "host", "IpcMode": "host"})
	count(authz.deny) == 1 with input as create({"CapAdd": ["cap_sys_admin"]})
	count(authz.deny) == 1 with input as create({"Devices": [{"PathOnHost": "/dev/sda"}]})
	count(authz.deny) == 1 with input as create({"DeviceCgroupRules": ["a *:* rwm"]})
	count(authz.deny) == 1 with input as create({"SecurityOpt": ["seccomp=unconfined"]})
	count(authz.deny) == 1 with input as create({"SecurityOpt": ["apparmor:unconfined"]})
	count(authz.deny) == 1 with input as create({"MaskedPaths": []})
}

test_a_capability_may_be_allowed if {
	count(authz.deny) == 0 with input as create({"CapAdd": ["NET_ADMIN"]}) with data.capabilities as ["NET_ADMIN"]
}

test_commands_in_containers_too if {
	count(authz.deny) == 1 with input as {"Method": "POST", "Route": "/containers/x/exec", "Body": {"Privileged": true}}
}
