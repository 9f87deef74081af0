package docker.authz_test

import data.docker.authz
import rego.v1

known := {"web": {"users": ["ann"]}, "data": {"groups": ["science"]}}

touching(user, groups, labels) := {
	"Method": "POST", "Route": "/containers/x/stop", "User": user,
	"Context": {"Groups": groups, "Touches": [{"Kind": "container", "Name": "x", "Labels": labels}]},
}

creating(user, labels) := {
	"Method": "POST", "Route": "/containers/create", "User": user, "Body": {"Labels": labels},
	"Context": {"Groups": [], "Touches": [{"Kind": "image", "Name": "i", "Labels": {}}]},
}

test_ours if count(authz.deny) == 0 with input as touching("ann", [], {"pintle.team": "web"}) with data.teams as known

test_by_group if count(authz.deny) == 0 with input as touching("eve", ["science"], {"pintle.team": "data"}) with data.teams as known

test_others if {
	authz.deny == {"the container x is not your team's"} with input as touching("ann", [], {"pintle.team": "data"}) with data.teams as known
	authz.deny == {"the container x is not your team's"} with input as touching("ann", [], {}) with data.teams as known
	count(authz.deny) == 0 with input as touching("root", [], {}) with data.teams as known with data.admins as ["root"]
}

test_nobodys if "only members of a team may do anything here" in authz.deny with input as touching("mallory", [], {}) with data.teams as known

test_without_context if {
	"teams need an engine that says what a request touches" in authz.deny with input as {"Method": "GET", "Route": "/info", "User": "ann"} with data.teams as known
}

test_what_is_made_is_labelled if {
	authz.merge_request == {{"Labels": {"pintle.team": "web"}}} with input as creating("ann", {}) with data.teams as known
	count(authz.deny) == 1 with input as creating("ann", {"pintle.team": "data"}) with data.teams as known
	count(authz.merge_request) == 0 with input as creating("root", {}) with data.teams as known with data.admins as ["root"]
}

test_volumes_exist if {
	binds := {"HostConfig": {"Binds": ["v:/v"]}}
	asked := object.union(creating("ann", {}), {"Body": binds})
	authz.deny == {"make the volume v first, so that it is your team's"} with input as asked with data.teams as known
}

test_lists_are_cut if {
	list := {"Body": [{"Labels": {"pintle.team": "web"}}, {"Labels": {"pintle.team": "data"}}, {"Labels": null}]}
	asked := {"Method": "GET", "Route": "/containers/json", "User": "ann", "Context": {"Groups": [], "Touches": []}, "Response": list}
	authz.hide_response == {1, 2} with input as asked with data.teams as known
}
