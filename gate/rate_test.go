package gate_test

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"customhouse"
	"customhouse/gate"
)

// TestS93_RequestsArePaced: an account has its rate wherever it comes from, whoever has none has that of their network, and
// one does not use up what is another's.
func TestS93_RequestsArePaced(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) {
		o.Rates = gate.Rates{PerAccount: 2, Burst: 5, PerClient: 1, PerClientBurst: 3}
	})
	from := func(cred customhouse.Credential, addr string) customhouse.Credential {
		cred.Client = netip.MustParseAddr(addr)
		return cred
	}
	passes := func(cred customhouse.Credential) (passed int, wait time.Duration) {
		t.Helper()
		for range 20 {
			_, err := h.Admit(t.Context(), cred, repo("public/a", "pull"))
			var refusal *gate.Refusal
			switch {
			case err == nil:
				passed++
			case errors.As(err, &refusal) && refusal.Err.Code == customhouse.TooManyRequests && refusal.RetryAfter > 0 && refusal.Challenge == nil:
				wait = refusal.RetryAfter
			default:
				t.Fatalf("Admit = %v", err)
			}
		}
		return passed, wait
	}
	alice := bearer(h.issue(own("alice"), "repository:public/a:pull")) // one of its five
	if n, wait := passes(from(alice, "192.0.2.1")); n != 4 || wait > time.Second {
		t.Errorf("%d requests of an account at once, then %v; want 4", n, wait)
	}
	if n, _ := passes(from(alice, "198.51.100.9")); n != 0 {
		t.Errorf("%d more from elsewhere", n)
	}
	if n, _ := passes(bearer(h.issue(own("bob"), "repository:public/a:pull"))); n != 4 {
		t.Errorf("%d requests of another account, want 4", n)
	}
	if n, _ := passes(from(nobody, "2001:db8:1:1::1")); n != 3 {
		t.Errorf("%d anonymous requests, want 3", n)
	}
	if n, _ := passes(from(nobody, "2001:db8:1:1:ffff::2")); n != 0 {
		t.Errorf("%d more from the same network", n)
	}
	if n, _ := passes(from(nobody, "2001:db8:1:2::1")); n != 3 {
		t.Errorf("%d from the next network, want 3", n)
	}
	if n, _ := passes(from(nobody, "::ffff:192.0.2.1")); n != 3 {
		t.Errorf("%d from IPv4, want 3", n)
	}
	if n, _ := passes(from(nobody, "192.0.2.1")); n != 0 {
		t.Errorf("%d more from the same address, written otherwise", n)
	}
	h.now = h.now.Add(time.Second)
	if n, _ := passes(from(alice, "192.0.2.1")); n != 2 {
		t.Errorf("%d requests a second later, want 2", n)
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("alice")}); err == nil {
		t.Error("a token is issued beyond the rate")
	}
	h.rebuild(func(o *gate.Options) {})
	if n, _ := passes(from(alice, "192.0.2.1")); n != 0 {
		t.Errorf("%d more after other settings", n)
	}
	h.now = h.now.Add(time.Minute)
	forged := from(bearer(gate.Token{Token: "forged"}), "203.0.113.5")
	limited := 0
	for range 10 {
		_, err := h.Admit(t.Context(), forged, repo("public/a", "pull"))
		var refusal *gate.Refusal
		if errors.As(err, &refusal) && refusal.Err.Code == customhouse.TooManyRequests {
			limited++
		}
	}
	if limited != 7 {
		t.Errorf("%d of 10 forged tokens are limited, want 7", limited)
	}
}

// A hundred thousand clients take no more memory than is allowed for them.
func TestS93_MemoryIsBounded(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) { o.Rates = gate.Rates{PerClient: 1} })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 500_000 {
		cred := customhouse.Credential{Client: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
		h.Admit(context.Background(), cred, repo("public/a", "pull"))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("500,000 clients take %d MiB", grown>>20)
	}
	runtime.KeepAlive(h)
}
