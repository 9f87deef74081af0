package docker.authz_test

import data.docker.authz
import rego.v1

most := {"*": {"minute": 10, "changes_hour": 3}, "bob": {"minute": 20}}

asks(user, method, minute, changes) := {
	"Method": method, "Route": "/info", "User": user,
	"Recent": {"Minute": minute, "Hour": minute, "ChangesMinute": changes, "ChangesHour": changes},
}

test_within if count(authz.deny) == 0 with input as asks("ann", "GET", 9, 2) with data.rates as most

test_too_often if {
	authz.deny == {"ann may ask 10 times a minute"} with input as asks("ann", "GET", 10, 0) with data.rates as most
	count(authz.deny) == 0 with input as asks("bob", "GET", 10, 0) with data.rates as most
	count(authz.deny) == 0 with input as asks("ann", "GET", 99, 0) with data.rates as most with data.admins as ["ann"]
}

test_changes if {
	authz.deny == {"ann may change something 3 times an hour"} with input as asks("ann", "POST", 5, 3) with data.rates as most
	count(authz.deny) == 0 with input as asks("ann", "GET", 5, 3) with data.rates as most
}
