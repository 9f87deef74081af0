# Each team sees and touches what is its own. `data.teams`: {"web": {"users": ["ann"], "groups": ["dev"]}}; `data.admins`: names of users.
package docker.authz

import rego.v1

team_label := "pintle.team"

teams contains name if {
	some name, team in data.teams
	is_member(team)
}

is_member(team) if who in object.get(team, "users", [])

is_member(team) if {
	some group in object.get(input, ["Context", "Groups"], [])
	group in object.get(team, "groups", [])
}

leads_teams if {
	who != ""
	who in data.admins
}

# Without what the engine knows nobody can tell whose anything is.
deny contains "teams need an engine that says what a request touches" if {
	not leads_teams
	not is_object(object.get(input, "Context", null))
}

deny contains "only members of a team may do anything here" if {
	not leads_teams
	count(teams) == 0
}

shared := {"image"}

deny contains message if {
	not leads_teams
	some touched in input.Context.Touches
	not touched.Kind in shared
	not is_ours(touched)
	message := sprintf("the %s %s is not your team's", [touched.Kind, touched.Name])
}

is_ours(touched) if touched.Labels[team_label] in teams

# The networks that every engine has are everybody's.
is_ours(touched) if {
	touched.Kind == "network"
	touched.Name in {"bridge", "none"}
}

makes_something if {
	input.Method == "POST"
	input.Route in {"/containers/create", "/networks/create", "/volumes/create"}
}

deny contains message if {
	not leads_teams
	makes_something
	asked := input.Body.Labels[team_label]
	not asked in teams
	message := sprintf("you are not of the team %s", [asked])
}

# What has no name of its own is made on the way: say the name of a volume that is there.
deny contains message if {
	not leads_teams
	some name in new_volumes
	message := sprintf("make the volume %s first, so that it is your team's", [name])
}

new_volumes contains name if {
	input.Route == "/containers/create"
	some bind in input.Body.HostConfig.Binds
	name := split(bind, ":")[0]
	not startswith(name, "/")
	not name in known_volumes
}

new_volumes contains name if {
	input.Route == "/containers/create"
	some mount in input.Body.HostConfig.Mounts
	mount.Type == "volume"
	name := object.get(mount, "Source", "")
	name != ""
	not name in known_volumes
}

known_volumes contains touched.Name if {
	some touched in input.Context.Touches
	touched.Kind == "volume"
}

deny contains "only administrators may do that to everything at once" if {
	not leads_teams
	endswith(input.Route, "/prune")
}

# What is made is the team's: the one that was asked for, else the first.
merge_request contains {"Labels": {team_label: label}} if {
	not leads_teams
	makes_something
	label := object.get(input.Body, ["Labels", team_label], sort(teams)[0])
}

hide_response contains place if {
	not leads_teams
	input.Route == "/containers/json"
	some place, container in input.Response.Body
	not object.get(container, ["Labels", team_label], "") in teams
}

hide_response contains ["Volumes", place] if {
	not leads_teams
	input.Route == "/volumes"
	some place, volume in input.Response.Body.Volumes
	not object.get(volume, ["Labels", team_label], "") in teams
}

hide_response contains place if {
	not leads_teams
	input.Route in {"/networks", "/networks/"}
	some place, network in input.Response.Body
	not is_ours({"Kind": "network", "Name": network.Name, "Labels": object.get(network, "Labels", {})})
}

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
