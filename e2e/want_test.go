//go:build linux

package e2e_test

import (
	"slices"
	"strings"
	"testing"
)

// What clients print when the server says 401, 403 and 404. No numbers: a port may look like one.
var (
	unauthorized = []string{"unauthorized", "invalid username/password"}
	denied       = []string{"denied", "forbidden"}
	refused      = append(denied, unauthorized...) // either, when a daemon has no account
	unknown      = []string{"unknown", "not found"}
)

func wantDigest(t *testing.T, got, want string) {
	t.Helper()
	if strings.TrimSpace(got) != want {
		t.Fatalf("digest = %q, want %q", got, want)
	}
}

// wantLines checks a listing; its order is part of it.
func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	if got := strings.Fields(got); !slices.Equal(got, want) {
		t.Fatalf("lines = %q, want %q", got, want)
	}
}
