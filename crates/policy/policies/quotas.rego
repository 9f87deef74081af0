# Each user has so much and no more. `data.quotas`: containers, running, memory (bytes), cpus, volumes, networks, by user or "*"; `data.admins`: names of users.
package docker.authz

import rego.v1

owner_label := "pintle.owner"

unlimited if {
	who != ""
	who in data.admins
}

quota := data.quotas[who]

quota := data.quotas["*"] if not data.quotas[who]

makes := {"/containers/create": "Containers", "/networks/create": "Networks", "/volumes/create": "Volumes"}

grows if {
	input.Method == "POST"
	makes[input.Route]
}

grows if {
	input.Method == "POST"
	regex.match(`^/containers/.+/(start|update)$`, input.Route)
}

deny contains "quotas need an engine that says what there is" if {
	not unlimited
	grows
	quota
	not is_object(object.get(input, ["Context", "Usage"], null))
}

deny contains message if {
	not unlimited
	input.Method == "POST"
	kind := makes[input.Route]
	most := quota[lower(kind)]
	input.Context.Usage[kind] >= most
	message := sprintf("%s may have %d %s", [who, most, lower(kind)])
}

deny contains message if {
	not unlimited
	regex.match(`^/containers/.+/start$`, input.Route)
	most := quota.running
	input.Context.Usage.Running >= most
	message := sprintf("%s may have %d running containers", [who, most])
}

# Where there is a limit of all, each container needs one.
asked := object.get(input.Body, "HostConfig", {}) if input.Route == "/containers/create"

deny contains message if {
	not unlimited
	most := quota.memory
	value := object.get(asked, "Memory", 0)
	value <= 0
	message := sprintf("%s may have %d bytes of memory: give the container a limit", [who, most])
}

deny contains message if {
	not unlimited
	most := quota.memory
	input.Context.Usage.Memory + object.get(asked, "Memory", 0) > most
	message := sprintf("%s may have %d bytes of memory, and has %d", [who, most, input.Context.Usage.Memory])
}

nano_cpus := object.get(asked, "NanoCpus", 0) if object.get(asked, "NanoCpus", 0) > 0

nano_cpus := (asked.CpuQuota * 1000000000) / object.get(asked, "CpuPeriod", 100000) if {
	object.get(asked, "NanoCpus", 0) <= 0
	object.get(asked, "CpuQuota", 0) > 0
	object.get(asked, "CpuPeriod", 100000) > 0
}

deny contains message if {
	not unlimited
	most := quota.cpus
	asked
	not nano_cpus
	message := sprintf("%s may have %v CPUs: give the container a limit", [who, most])
}

deny contains message if {
	not unlimited
	most := quota.cpus
	input.Context.Usage.NanoCpus + nano_cpus > most * 1000000000
	message := sprintf("%s may have %v CPUs", [who, most])
}

# A limit that is counted is not raised afterwards.
deny contains "limits that count for a quota are set when a container is made" if {
	not unlimited
	regex.match(`^/containers/.+/update$`, input.Route)
	some key in ["Memory", "NanoCpus", "CpuQuota", "CpuPeriod"]
	object.get(input.Body, key, 0) != 0
	is_counted
}

is_counted if quota.memory

is_counted if quota.cpus

# What is made is counted by this label, so nobody says whose it is.
deny contains message if {
	not unlimited
	grows
	claimed := input.Body.Labels[owner_label]
	claimed != who
	message := sprintf("the label %s is %s for you", [owner_label, who])
}

merge_request contains {"Labels": {owner_label: who}} if {
	input.Method == "POST"
	makes[input.Route]
	who != ""
}

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
