# Who is not an administrator may look and nothing else. `data.admins`: names of users, as in certificates or on this host.
package docker.authz

import rego.v1

deny contains message if {
	not input.Method in {"GET", "HEAD"}
	not is_admin
	message := sprintf("%s may look at things and change nothing", [who])
}

# Reading files out of a container is more than looking.
deny contains message if {
	regex.match(`^/containers/.+/(archive|export)$|^/images/(.+/)?get$`, input.Route)
	not is_admin
	message := sprintf("%s may not read files of containers and images", [who])
}

is_admin if who in data.admins

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
