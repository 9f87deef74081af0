# Containers get folders of the host from known places only. `data.mounts`: folders; `data.read_only_mounts`: folders that may be read.
package docker.authz

import rego.v1

below(path, folder) if path == trim_suffix(folder, "/")

below(path, folder) if startswith(path, concat("", [trim_suffix(folder, "/"), "/"]))

may_mount(mount) if {
	some folder in data.mounts
	below(mount.Resolved, folder)
}

may_mount(mount) if {
	mount.ReadOnly
	some folder in data.read_only_mounts
	below(mount.Resolved, folder)
}

deny contains message if {
	some mount in input.BindMounts
	not may_mount(mount)
	message := sprintf("this folder of the host may not be mounted: %s", [mount.Source])
}

# A volume may be a folder of the host, too.
deny contains "volumes that are folders of the host may not be made" if {
	input.Method == "POST"
	input.Route == "/volumes/create"
	device := input.Body.DriverOpts.device
	startswith(device, "/")
	not may_mount({"Resolved": device, "ReadOnly": false})
}
