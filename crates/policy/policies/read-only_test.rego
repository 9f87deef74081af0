package docker.authz_test

import data.docker.authz
import rego.v1

test_everybody_looks if count(authz.deny) == 0 with input as {"Method": "GET", "Route": "/containers/json", "User": "eve"}

test_others_change_nothing if {
	authz.deny == {"eve may look at things and change nothing"} with input as {"Method": "POST", "Route": "/containers/create", "User": "eve"}
}

test_administrators_change_things if {
	count(authz.deny) == 0 with input as {"Method": "DELETE", "Route": "/containers/x", "User": "", "Peer": {"Name": "ann"}}
		with data.admins as ["ann"]
}

test_files_are_more_than_looking if {
	count(authz.deny) == 1 with input as {"Method": "GET", "Route": "/containers/x/archive", "User": "eve"}
	count(authz.deny) == 1 with input as {"Method": "GET", "Route": "/images/get", "User": "eve"}
}
