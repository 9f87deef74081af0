package docker.authz_test

import data.docker.authz
import rego.v1

answer(user) := {
	"Method": "GET", "Route": "/containers/x/json", "User": user,
	"Response": {"Body": {
		"Config": {"Env": ["PATH=/bin", "DB_PASSWORD=x"], "Labels": {"api-token": "x", "name": "y"}},
		"HostConfig": {"LogConfig": {"Config": {"splunk-token": "x", "tag": "t"}}},
	}},
}

test_masked if {
	authz.redact_response == {
		["Config", "Env", 1],
		["Config", "Labels", "api-token"],
		["HostConfig", "LogConfig", "Config", "splunk-token"],
	} with input as answer("eve")
}

test_administrators if count(authz.redact_response) == 0 with input as answer("ann") with data.admins as ["ann"]

test_own_patterns if {
	authz.redact_response == {["Config", "Env", 0]} with input as answer("eve") with data.secret_keys as ["^PATH$"]
}

test_nothing_is_refused if count(authz.deny) == 0 with input as answer("eve")
