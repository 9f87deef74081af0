# Each container has limits, and not above these. `data.limits`: memory in bytes, cpus, pids; what is not there is not limited.
package docker.authz

import rego.v1

limited := object.get(input.Body, "HostConfig", {}) if {
	input.Method == "POST"
	input.Route == "/containers/create"
}

limited := input.Body if {
	input.Method == "POST"
	regex.match(`^/containers/.+/update$`, input.Route)
}

updates if regex.match(`^/containers/.+/update$`, input.Route)

given(value) if {
	is_number(value)
	value > 0
}

deny contains message if {
	most := data.limits.memory
	value := object.get(limited, "Memory", 0)
	exceeds(value, most)
	message := sprintf("a container needs a memory limit of at most %d bytes", [most])
}

deny contains message if {
	most := data.limits.cpus
	value := cpus
	exceeds(value, most)
	message := sprintf("a container needs a limit of at most %v CPUs", [most])
}

deny contains message if {
	most := data.limits.pids
	value := object.get(limited, "PidsLimit", 0)
	exceeds(value, most)
	message := sprintf("a container needs a limit of at most %d processes", [most])
}

# An update leaves alone what it does not name.
exceeds(value, _) if {
	not given(value)
	not updates
}

exceeds(value, most) if {
	given(value)
	value > most
}

# Less than nothing takes a limit away.
exceeds(value, _) if {
	updates
	value < 0
}

cpus := limited.NanoCpus / 1000000000 if given(limited.NanoCpus)

cpus := limited.CpuQuota / object.get(limited, "CpuPeriod", 100000) if {
	limited
	not given(object.get(limited, "NanoCpus", 0))
	given(limited.CpuQuota)
	given(object.get(limited, "CpuPeriod", 100000))
}

cpus := 0 if {
	limited
	not given(object.get(limited, "NanoCpus", 0))
	not given(object.get(limited, "CpuQuota", 0))
}
