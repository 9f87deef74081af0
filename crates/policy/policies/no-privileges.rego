# No privileged containers, host namespaces, devices or capabilities beyond the usual, and no way around seccomp and AppArmor.
# `data.capabilities`: what may be added; none if not given.
package docker.authz

import rego.v1

creates if {
	input.Method == "POST"
	input.Route == "/containers/create"
}

host_config := object.get(input.Body, "HostConfig", {}) if {
	creates
	is_object(object.get(input.Body, "HostConfig", {}))
}

# Clients write null for an empty list.
listed(key) := host_config[key] if is_array(host_config[key])

deny contains "privileged containers are not allowed" if host_config.Privileged == true

deny contains "privileged commands in containers are not allowed" if {
	regex.match(`^/containers/.+/exec$`, input.Route)
	input.Body.Privileged == true
}

deny contains message if {
	some kind in ["NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode"]
	host_config[kind] == "host"
	message := sprintf("the host's namespace is not allowed: %s", [kind])
}

deny contains message if {
	some added in listed("CapAdd")
	plain := trim_prefix(upper(added), "CAP_")
	not may_add(plain)
	message := sprintf("the capability %s is not allowed", [plain])
}

deny contains "devices of the host are not allowed" if count(listed("Devices")) > 0

deny contains "rules for devices are not allowed" if count(listed("DeviceCgroupRules")) > 0

deny contains message if {
	some option in listed("SecurityOpt")
	regex.match(`^(seccomp|apparmor|systempaths|label)[=:](unconfined|disable)$`, option)
	message := sprintf("the security option %s is not allowed", [option])
}

# An empty list unmasks what is masked.
deny contains "unmasked system paths are not allowed" if host_config.MaskedPaths == []

deny contains "writable system paths are not allowed" if host_config.ReadonlyPaths == []

may_add(capability) if capability in data.capabilities
