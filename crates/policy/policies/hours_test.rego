package docker.authz_test

import data.docker.authz
import rego.v1

# Wednesday, 2026-11-25, 09:30 and 19:30 UTC; Sunday, 2026-11-29, 09:30.
morning := 1795599000000000000

evening := morning + (((10 * 3600) * 1000) * 1000) * 1000

sunday := morning + (((4 * 24) * 3600) * 1000) * 1000 * 1000

at(time, user) := {"Method": "POST", "Route": "/containers/create", "User": user, "Now": time}

test_in_the_morning if count(authz.deny) == 0 with input as at(morning, "eve")

test_in_the_evening if {
	authz.deny == {"changes are made from 8 to 18 o'clock (UTC)"} with input as at(evening, "eve")
	count(authz.deny) == 0 with input as at(evening, "ann") with data.admins as ["ann"]
	count(authz.deny) == 0 with input as {"Method": "GET", "Now": evening, "User": "eve"}
}

test_on_sunday if count(authz.deny) == 1 with input as at(sunday, "eve")

test_elsewhere if count(authz.deny) == 0 with input as at(evening, "eve") with data.hours as {"zone": "America/New_York"}
