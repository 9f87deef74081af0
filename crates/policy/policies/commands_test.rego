package docker.authz_test

import data.docker.authz
import rego.v1

env := {"ADMIN_USERS": "ann,bob", "RESTRICTED_COMMANDS": "containers,images"}

ask(route, user) := {"Method": "POST", "Route": route, "User": user}

test_administrators if count(authz.deny) == 0 with input as ask("/containers/create", "bob") with data.env as env

test_others if {
	authz.deny == {"User eve not authorized to run containers"} with input as ask("/containers/create", "eve") with data.env as env
	count(authz.deny) == 1 with input as ask("/images/json", "") with data.env as env
}

test_what_is_not_restricted if {
	count(authz.deny) == 0 with input as ask("/volumes", "eve") with data.env as env
	count(authz.deny) == 0 with input as ask("/containers/create", "eve") with data.env as {}
}
