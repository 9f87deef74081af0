package docker.authz_test

import data.docker.authz
import rego.v1

known := {"ann": ["POST /containers/create", "image nginx", "mount /srv"]}

create(user, image, path, host) := {
	"Method": "POST", "Route": "/containers/create", "User": user, "Context": {"Route": "/containers/create"},
	"Body": {"Image": image, "HostConfig": host}, "BindMounts": [{"Resolved": path}],
}

test_what_was_recorded if count(authz.deny) == 0 with input as create("ann", "nginx", "/srv", {"NetworkMode": "default"}) with data.learned as known

test_something_else if {
	authz.deny == {"image redis was not recorded of ann"} with input as create("ann", "redis", "/srv", {}) with data.learned as known
	authz.deny == {"mount /etc was not recorded of ann"} with input as create("ann", "nginx", "/etc", {}) with data.learned as known
	authz.deny == {"privileged was not recorded of ann", "PidMode host was not recorded of ann"} with input as create("ann", "nginx", "/srv", {"Privileged": true, "PidMode": "host"}) with data.learned as known
	count(authz.deny) == 3 with input as create("eve", "nginx", "/srv", {}) with data.learned as known
	count(authz.deny) == 1 with input as {"Method": "GET", "Route": "/info", "User": "ann", "Context": {"Route": "/info"}} with data.learned as known
}

test_without_context if {
	"this policy needs an engine that says what a request means" in authz.deny with input as {"Method": "GET", "Route": "/info", "User": "ann"} with data.learned as known
}
