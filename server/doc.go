// Package server speaks the protocols for programs: the OCI distribution API under /v2/, the Docker token endpoint, the
// key set, and health.
//
// A request is parsed into data (request.go); the data says what it needs (route.go); the gate says who is asking and
// whether they may; a handler acts with one verb of package registry. Errors come back as values and are written in one
// place (error.go). The package holds no rule about content and none about permission.
package server
