# Images come from known registries only. `data.registries`: prefixes such as "registry.example/team/"; `data.digests_only`: true wants digests.
package docker.authz

import rego.v1

# A container that is created, or an image that is pulled.
wanted contains image if {
	input.Method == "POST"
	input.Route == "/containers/create"
	image := input.Body.Image
}

wanted contains image if {
	input.Method == "POST"
	input.Route == "/images/create"
	name := input.Query.fromImage[0]
	tag := object.get(input.Query, "tag", [""])[0]
	image := pulled(name, tag)
}

pulled(name, "") := name

pulled(name, tag) := concat("@", [name, tag]) if contains(tag, ":")

pulled(name, tag) := concat(":", [name, tag]) if {
	tag != ""
	not contains(tag, ":")
}

# Docker's way to write a name in full.
full(image) := image if is_host(split(image, "/")[0], image)

full(image) := concat("/", ["docker.io", image]) if {
	contains(image, "/")
	not is_host(split(image, "/")[0], image)
}

full(image) := concat("/", ["docker.io/library", image]) if not contains(image, "/")

is_host(first, image) if {
	contains(image, "/")
	regex.match(`[.:]|^localhost$`, first)
}

is_known(image) if {
	some prefix in data.registries
	startswith(full(image), prefix)
}

# What is here is called by its id, too.
is_id(image) if regex.match(`^(sha256:)?[0-9a-f]{12,64}$`, image)

deny contains message if {
	some image in wanted
	not is_known(image)
	not is_id(image)
	message := sprintf("images may not come from there: %s", [full(image)])
}

deny contains message if {
	data.digests_only == true
	some image in wanted
	not contains(image, "@sha256:")
	not is_id(image)
	message := sprintf("images are named by their digests here: %s", [image])
}
