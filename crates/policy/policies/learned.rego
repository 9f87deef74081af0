# Everybody may do what was recorded of them, and nothing else. `data.learned`: what `pintle policy record` writes.
package docker.authz

import rego.v1

# What a request is, in words that are the same for all requests that should be treated alike.
facts contains sprintf("%s %s", [input.Method, input.Context.Route])

facts contains sprintf("image %s", [creating.Image])

facts contains sprintf("mount %s", [bind.Resolved]) if some bind in input.BindMounts

facts contains "privileged" if creating.HostConfig.Privileged == true

facts contains sprintf("%s %s", [key, mode]) if {
	some key in ["NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode"]
	mode := creating.HostConfig[key]
	not plain(mode)
}

facts contains sprintf("%s %v", [key, item]) if {
	some key in ["CapAdd", "SecurityOpt", "DeviceCgroupRules", "VolumesFrom"]
	some item in creating.HostConfig[key]
}

facts contains sprintf("device %s", [device.PathOnHost]) if some device in creating.HostConfig.Devices

facts contains "privileged command" if {
	endswith(input.Route, "/exec")
	input.Body.Privileged == true
}

creating := input.Body if input.Route == "/containers/create"

plain(mode) if mode in {"", "default", "bridge", "none", "private"}

deny contains "this policy needs an engine that says what a request means" if not is_object(object.get(input, "Context", null))

deny contains message if {
	some fact in facts
	not was_recorded(fact)
	message := sprintf("%s was not recorded of %s", [fact, who])
}

was_recorded(fact) if fact in data.learned[who]

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
