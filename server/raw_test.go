package server_test

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// wire is a connection on which a test says what no HTTP client would.
type wire struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (h *house) dial() wire {
	h.t.Helper()
	return dialTo(h.t, strings.TrimPrefix(h.http.URL, "http://"))
}

func dialTo(t testing.TB, address string) wire {
	t.Helper()
	c, err := net.Dial("tcp", address)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return wire{t, c, bufio.NewReader(c)}
}

func (w wire) send(text string) {
	w.t.Helper()
	_, err := io.WriteString(w.Conn, text)
	must(w.t, err)
}

// responses are the answers that come until the server closes or is silent for a time, with their bodies.
func (w wire) responses(silence time.Duration) (all []answer) {
	w.t.Helper()
	for {
		must(w.t, w.SetReadDeadline(time.Now().Add(silence)))
		resp, err := http.ReadResponse(w.r, nil)
		if err != nil {
			return all
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		all = append(all, answer{w.t, "raw", resp.StatusCode, resp.Header, body})
	}
}

func (w wire) statuses(silence time.Duration) (all []int) {
	w.t.Helper()
	for _, a := range w.responses(silence) {
		all = append(all, a.status)
	}
	return all
}

// newServer serves a handler and returns its address.
func newServer(t testing.TB, handler http.Handler) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	return strings.TrimPrefix(s.URL, "http://")
}
