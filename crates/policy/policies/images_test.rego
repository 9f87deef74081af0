package docker.authz_test

import data.docker.authz
import rego.v1

known := ["registry.example/team/", "docker.io/library/"]

create(image) := {"Method": "POST", "Route": "/containers/create", "Body": {"Image": image}}

pull(query) := {"Method": "POST", "Route": "/images/create", "Query": query}

test_known_places if {
	count(authz.deny) == 0 with input as create("registry.example/team/app:1") with data.registries as known
	count(authz.deny) == 0 with input as create("nginx") with data.registries as known
	count(authz.deny) == 0 with input as pull({"fromImage": ["nginx"], "tag": ["latest"]}) with data.registries as known
	count(authz.deny) == 0 with input as create("sha256:0123456789ab") with data.registries as known
}

test_other_places if {
	authz.deny == {"images may not come from there: docker.io/evil/nginx:1"} with input as create("evil/nginx:1") with data.registries as known
	count(authz.deny) == 1 with input as create("registry.example/teamless/app") with data.registries as known
	count(authz.deny) == 1 with input as pull({"fromImage": ["localhost/nginx"]}) with data.registries as known
	count(authz.deny) == 1 with input as create("nginx")
}

test_digests if {
	count(authz.deny) == 1 with input as create("nginx:1") with data.registries as known with data.digests_only as true
	count(authz.deny) == 0 with input as create("nginx@sha256:aa") with data.registries as known with data.digests_only as true
	count(authz.deny) == 0 with input as pull({"fromImage": ["nginx"], "tag": ["sha256:aa"]}) with data.registries as known with data.digests_only as true
}
