# Each user asks so often and no more. `data.rates`: minute, hour, changes_minute, changes_hour, by user or "*"; `data.admins`: names of users.
package docker.authz

import rego.v1

unhurried if {
	who != ""
	who in data.admins
}

rate := data.rates[who]

rate := data.rates["*"] if not data.rates[who]

deny contains message if {
	not unhurried
	most := rate.minute
	input.Recent.Minute >= most
	message := sprintf("%s may ask %d times a minute", [who, most])
}

deny contains message if {
	not unhurried
	most := rate.hour
	input.Recent.Hour >= most
	message := sprintf("%s may ask %d times an hour", [who, most])
}

changes if not input.Method in {"GET", "HEAD"}

deny contains message if {
	not unhurried
	changes
	most := rate.changes_minute
	input.Recent.ChangesMinute >= most
	message := sprintf("%s may change something %d times a minute", [who, most])
}

deny contains message if {
	not unhurried
	changes
	most := rate.changes_hour
	input.Recent.ChangesHour >= most
	message := sprintf("%s may change something %d times an hour", [who, most])
}

who := input.User if object.get(input, "User", "") != ""

who := name if {
	object.get(input, "User", "") == ""
	name := object.get(input, ["Peer", "Name"], "")
}
