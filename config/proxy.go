package config

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
)

// Prefix is a range of addresses, written as 10.0.0.0/8 or, for a single one, as 10.0.0.1.
type Prefix netip.Prefix

// UnmarshalText reads an address or a CIDR prefix.
func (p *Prefix) UnmarshalText(text []byte) error {
	if addr, err := netip.ParseAddr(string(text)); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		*p = Prefix(netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil || prefix.Addr().Is4In6() {
		return errors.New("want an address or a CIDR prefix, such as 10.0.0.0/8")
	}
	*p = Prefix(prefix.Masked())
	return nil
}

// String writes p as UnmarshalText reads it.
func (p Prefix) String() string { return netip.Prefix(p).String() }

// RealIP is the section real_ip.
type RealIP struct {
	// The header with the addresses: a list, to which each proxy on the way has added that of its own client.
	Header string `yaml:"header"`

	// Which address of the list is the client's: -1 is the last, which the nearest proxy has added, -2 the one before, and
	// 0 the first, which the client can make up unless the proxies drop what it sends.
	Position int `yaml:"position"`
}

// Socket returns the path of the socket to listen on, "" where Listen is a network address.
func (c *Config) Socket() string {
	path, ok := strings.CutPrefix(c.Listen, "unix:")
	if !ok {
		return ""
	}
	return path
}

const maxSocket = 107 // bytes of a path (unix(7))

func (c *Config) checkSocket(p *problems) {
	path := c.Socket()
	p.check(filepath.IsAbs(path) && len(path) <= maxSocket, "listen", "want the absolute path of the socket behind unix:, of no more than 107 bytes")
}

func (c *Config) checkProxies(p *problems) {
	p.check(isToken(c.RealIP.Header), "real_ip.header", "want the name of a header, such as X-Forwarded-For")
}
