package docker.authz_test

import data.docker.authz
import rego.v1

bind(path, read_only) := {"BindMounts": [{"Source": "/link", "Resolved": path, "ReadOnly": read_only}]}

test_known_folders if {
	count(authz.deny) == 0 with input as bind("/srv/data/x", false) with data.mounts as ["/srv/data/"]
	count(authz.deny) == 0 with input as bind("/srv/data", false) with data.mounts as ["/srv/data"]
	count(authz.deny) == 0 with input as bind("/etc/ssl", true) with data.read_only_mounts as ["/etc/ssl"]
}

test_where_links_lead_counts if {
	authz.deny == {"this folder of the host may not be mounted: /link"} with input as bind("/etc", false) with data.mounts as ["/link"]
	count(authz.deny) == 1 with input as bind("/srv/database", false) with data.mounts as ["/srv/data"]
	count(authz.deny) == 1 with input as bind("/etc/ssl", false) with data.read_only_mounts as ["/etc/ssl"]
	count(authz.deny) == 1 with input as bind("/", true)
}

test_volumes_that_are_folders if {
	volume := {"Method": "POST", "Route": "/volumes/create", "Body": {"DriverOpts": {"device": "/etc"}}}
	count(authz.deny) == 1 with input as volume
	count(authz.deny) == 0 with input as volume with data.mounts as ["/etc"]
	count(authz.deny) == 0 with input as {"Method": "POST", "Route": "/volumes/create", "Body": {"Name": "x"}}
}
