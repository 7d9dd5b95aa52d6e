package outbound_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"customhouse/outbound"
)

// Hosts that are named are reached in private networks, whatever their case; the same
// address by another name is not.
func TestNamed(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.Host)) }))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	n := outbound.NewNamed(time.Second, "auth.hosts", "LocalHost")
	client := http.Client{Transport: &http.Transport{Proxy: n.Proxy, DialContext: n.DialContext, DisableKeepAlives: true}}
	r, err := client.Get("http://localhost:" + port)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	_, err = client.Get("http://127.0.0.1:" + port)
	if !errors.As(err, new(*outbound.ForbiddenError)) || !strings.Contains(err.Error(), "can name the host 127.0.0.1 in auth.hosts") {
		t.Errorf("Get(127.0.0.1) = %v, want a ForbiddenError that says where to name it", err)
	}
	if _, err := n.DialContext(t.Context(), "tcp", "localhost"); err == nil {
		t.Error("DialContext without a port = nil, want an error")
	}
}
