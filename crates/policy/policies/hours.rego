# Changes are made in office hours, but by administrators. `data.hours`: from and to (hours), days, zone; `data.admins`: names of users.
package docker.authz

import rego.v1

now := object.get(input, "Now", time.now_ns())

hours := object.union({"from": 8, "to": 18, "days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"], "zone": "UTC"}, object.get(data, "hours", {}))

open_now if {
	time.weekday([now, hours.zone]) in hours.days
	[hour, _, _] := time.clock([now, hours.zone])
	hour >= hours.from
	hour < hours.to
}

deny contains message if {
	not input.Method in {"GET", "HEAD"}
	not open_now
	not who in object.get(data, "admins", [])
	message := sprintf("changes are made from %d to %d o'clock (%s)", [hours.from, hours.to, hours.zone])
}

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
