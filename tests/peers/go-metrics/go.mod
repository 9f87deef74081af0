module pintle.test/go-metrics

go 1.19

require github.com/docker/go-plugins-helpers v0.0.0-20240701071450-45e2431495c8

require (
	github.com/Microsoft/go-winio v0.5.2 // indirect
	github.com/coreos/go-systemd v0.0.0-20191104093116-d3cd4ed1dbcf // indirect
	github.com/docker/go-connections v0.4.0 // indirect
	golang.org/x/net v0.1.0 // indirect
	golang.org/x/sys v0.1.0 // indirect
)
