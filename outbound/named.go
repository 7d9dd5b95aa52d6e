package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Named opens connections to hosts that the operator has named wherever they are, and to others, which somebody may send us
// to, in public networks only. The proxies of the environment are named by it.
type Named struct {
	setting string
	hosts   map[string]bool
	proxies sync.Map

	named, others *Dialer
}

// NewNamed returns what reaches hosts. Setting is where the operator can name others, for messages. A timeout of 0 is that of
// Options.
func NewNamed(timeout time.Duration, setting string, hosts ...string) *Named {
	n := &Named{
		setting: setting, hosts: map[string]bool{},
		named: NewDialer(Options{Timeout: timeout, Private: true}), others: NewDialer(Options{Timeout: timeout}),
	}
	for _, h := range hosts {
		n.hosts[strings.ToLower(h)] = true
	}
	return n
}

// Proxy is http.ProxyFromEnvironment for a transport that connects with DialContext.
func (n *Named) Proxy(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if u != nil {
		n.proxies.Store(strings.ToLower(u.Hostname()), true)
	}
	return u, err
}

// DialContext connects as net.Dialer does. The error is a *ForbiddenError when each address of the host is forbidden.
func (n *Named) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	host = strings.ToLower(host)
	if _, proxy := n.proxies.Load(host); proxy || n.hosts[host] {
		return n.named.DialContext(ctx, network, address)
	}
	c, err := n.others.DialContext(ctx, network, address)
	if forbidden := (*ForbiddenError)(nil); errors.As(err, &forbidden) {
		return nil, fmt.Errorf("%w; the operator can name the host %s in %s", err, host, n.setting)
	}
	return c, err
}
