# Changes are made in office hours, but by administrators. `data.hours`: from and to (hours), days, zone; `data.admins`: names of users.
package docker.authz

import rego.v1

now := object.get(input, "Now", time.now_ns())

hours := object.union({"from": 8, "to": 18, "days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"], "zone": "UTC"}, hours_given)

hours_given := data.hours

hours_given := {} if not data.hours

open_now if {
	time.weekday([now, hours.zone]) in hours.days
	[hour, _, _] := time.clock([now, hours.zone])
	hour >= hours.from
	hour < hours.to
}

deny contains message if {
	not input.Method in {"GET", "HEAD"}
	not open_now
	not at_any_hour
	message := sprintf("changes are made from %d to %d o'clock (%s)", [hours.from, hours.to, hours.zone])
}

at_any_hour if who in data.admins

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
