# Some commands are for some users. ADMIN_USERS and RESTRICTED_COMMANDS of the environment, each a list with commas: containers,images,…
package docker.authz

import rego.v1

# The first step of the path, as in /v1.41/containers/json.
command := split(input.Route, "/")[1]

admin_users := split(data.env.ADMIN_USERS, ",")

restricted_commands := split(data.env.RESTRICTED_COMMANDS, ",")

deny contains message if {
	command != ""
	command in restricted_commands
	not is_one_of_them
	message := sprintf("User %s not authorized to run %s", [who, command])
}

is_one_of_them if who in admin_users

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
