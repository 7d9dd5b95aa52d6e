// Package outbound is the one way out: connections that Customhouse opens to others. It looks at the address that a name
// has led to, when it connects, so that neither a name nor a redirect leads to where nobody meant to go. It knows nothing
// of protocols.
//
//	transport := &http.Transport{DialContext: outbound.NewDialer(outbound.Options{}).DialContext}
package outbound

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Options are the settings of a Dialer.
type Options struct {
	Timeout time.Duration  // of a connection; 0 is 10 seconds
	Private bool           // loopback and private networks may be reached, for hosts that the operator has named
	Allow   []netip.Prefix // addresses that may be reached whatever they are
}

// Dialer opens connections to addresses that are allowed. These never are, but for Options.Allow: link-local ones, where
// clouds answer with credentials (169.254.169.254), the metadata services at other addresses, multicast, unspecified and
// reserved ones; nor is an IPv6 address that stands for one of them.
type Dialer struct {
	options Options
	dialer  net.Dialer
}

// NewDialer returns a dialer.
func NewDialer(o Options) *Dialer {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	d := &Dialer{options: o}
	d.dialer = net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second, ControlContext: d.control}
	return d
}

// DialContext connects as net.Dialer does. The error is a *ForbiddenError when each address of the host is forbidden.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return d.dialer.DialContext(ctx, network, address)
	}
	return nil, fmt.Errorf("dial %s: no such network here", network)
}

// ForbiddenError says that a host has led to an address that must not be reached.
type ForbiddenError struct{ Addr netip.Addr }

// Error names the address.
func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("the address %s must not be reached from here", e.Addr)
}

// control is asked for every address, after names have been resolved and before anything is sent.
func (d *Dialer) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %s: %w", address, err)
	}
	return d.Check(ap.Addr())
}

// Check returns a *ForbiddenError if the address must not be reached.
func (d *Dialer) Check(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	for _, p := range d.options.Allow {
		if p.Contains(addr) {
			return nil
		}
	}
	for _, a := range meanings(addr) {
		if !d.options.Private && (a.IsPrivate() || a.IsLoopback() || shared.Contains(a)) || isForbidden(a) {
			return &ForbiddenError{addr}
		}
	}
	return nil
}

// isForbidden tells of addresses that are nobody's service.
func isForbidden(a netip.Addr) bool {
	if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return true
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

var (
	shared   = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	reserved = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("240.0.0.0/4"),        // and broadcast
		netip.MustParsePrefix("100.100.100.200/32"), // metadata of Alibaba Cloud
		netip.MustParsePrefix("192.0.0.192/32"),     // metadata of Oracle Cloud
		netip.MustParsePrefix("168.63.129.16/32"),   // metadata of Azure
		netip.MustParsePrefix("fd00:ec2::/32"),      // metadata of Amazon
		netip.MustParsePrefix("fd20:ce::254/128"),   // metadata of Google
		netip.MustParsePrefix("fec0::/10"),          // site-local
	}

	// Prefixes whose addresses carry an IPv4 address that they lead to, and where it stands.
	translations = []struct {
		prefix netip.Prefix
		at     int
	}{
		{netip.MustParsePrefix("64:ff9b::/96"), 12},   // RFC 6052
		{netip.MustParsePrefix("64:ff9b:1::/48"), 12}, // RFC 8215
		{netip.MustParsePrefix("2002::/16"), 2},       // 6to4
		{netip.MustParsePrefix("::/96"), 12},          // IPv4-compatible
	}
)

// meanings returns the address and the IPv4 address that it stands for, if it does.
func meanings(a netip.Addr) []netip.Addr {
	all := []netip.Addr{a}
	if !a.Is6() || a.IsLoopback() || a.IsUnspecified() {
		return all
	}
	for _, t := range translations {
		if t.prefix.Contains(a) {
			b := a.As16()
			all = append(all, netip.AddrFrom4([4]byte(b[t.at:t.at+4])))
		}
	}
	return all
}
