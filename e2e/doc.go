// Package e2e drives the built binary from outside: real clients, real daemons and the OCI conformance
// suite against a server on the loopback. It knows customhouse by its command line, its configuration
// file and its sockets, and imports nothing of it.
//
// The programs come from Debian and from the Go module proxy:
//
//	e2e/install           # docker, podman, skopeo, ctr, crane, oras, regctl, conformance, strace, sqlite3
//	e2e/install --long    # helm and cosign as well
//	go test ./e2e
//
// Tests called after an R and a number show an item of the acceptance list for reliability: what was acknowledged
// survives kill -9, full, read-only, failing and rotting disks. Some need root, for a mount of their own.
//
// These variables say how strict and how thorough a run is:
//
//	CUSTOMHOUSE_REQUIRE_TOOLS=1   a missing program fails its test instead of skipping it
//	CUSTOMHOUSE_LONG=1            run the tests of helm and cosign too, and those of reliability for longer
//	CUSTOMHOUSE_BINARY=PATH       test this binary instead of building one
package e2e
