package outbound

import (
	"errors"
	"net/http"
)

// NoUpgrade is a transport that takes no change of protocol (101) for an answer. The body of that is the connection itself:
// whoever reads it waits for as long as the server likes, whatever context and timeouts say.
type NoUpgrade struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t NoUpgrade) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.Transport.RoundTrip(r)
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body.Close()
		return nil, errors.New("the server goes over to another protocol")
	}
	return res, err
}
