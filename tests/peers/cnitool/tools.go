//go:build tools

// Package tools names the program that the tests build: CNI's own runtime for a shell.
package tools

import _ "github.com/containernetworking/cni/cnitool"
