# Secrets are masked in answers, but for administrators. `data.secret_keys`: patterns of names (the usual ones if not given); `data.admins`: names of users.
package docker.authz

import rego.v1

secret_keys := data.secret_keys

secret_keys := ["(?i)(pass|secret|token|key|credential|auth|dsn|database_url)"] if not data.secret_keys

reads_secrets if {
	who != ""
	who in data.admins
}

is_secret(name) if {
	some pattern in secret_keys
	regex.match(pattern, name)
}

# NAME=value in the environment of containers, images, commands and plugins.
redact_response contains place if {
	not reads_secrets
	walk(input.Response.Body, [place, text])
	is_string(text)
	count(place) > 1
	place[count(place) - 2] == "Env"
	is_secret(split(text, "=")[0])
}

# Labels, options of drivers and of logs.
redact_response contains place if {
	not reads_secrets
	walk(input.Response.Body, [place, text])
	is_string(text)
	count(place) > 1
	place[count(place) - 2] in {"Labels", "Options", "Config", "DriverOpts"}
	is_string(place[count(place) - 1])
	is_secret(place[count(place) - 1])
}

# Who asks may not be refused here, only be shown less.
deny contains "never" if false

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
