package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"customhouse"
)

// Proxies tells whose word is taken for the address of a client, and where they put it.
type Proxies struct {
	Trusted  []netip.Prefix // empty: nobody's, and the client is whoever connects
	Header   string         // the header with a list of addresses, to which each proxy adds that of its own client
	Position int            // of the client's in the list: 0 is the first, -1 the last
}

// client returns the address of the client: that of whoever connects or, if that is a trusted proxy, the one that it
// names. It is the zero Addr where it is unknown, which is so over a socket in the file system without a proxy.
//
// What a trusted proxy gets wrong is an error and never an address, not even its own: rules may give that more rights.
func (p Proxies) client(r *http.Request) (netip.Addr, error) {
	peer := peerAddr(r)
	if !p.trusts(peer) {
		return peer, nil
	}
	bad := func(why string) (netip.Addr, error) {
		return netip.Addr{}, customhouse.Errorf(customhouse.BadRequest, "the address of the client is %s in %s", why, p.Header)
	}
	list := strings.Split(strings.Join(r.Header.Values(p.Header), ","), ",")
	if len(list) == 1 && strings.TrimSpace(list[0]) == "" {
		return bad("missing")
	}
	at := p.Position
	if at < 0 {
		at += len(list)
	}
	if at < 0 || at >= len(list) {
		return bad("missing at the place where it should be")
	}
	text := strings.TrimSpace(list[at])
	addr, err := netip.ParseAddr(text)
	if err != nil {
		var with netip.AddrPort // some proxies add the port
		with, err = netip.ParseAddrPort(text)
		addr = with.Addr()
	}
	if err != nil || addr.Zone() != "" {
		return bad("no address")
	}
	return addr.Unmap(), nil
}

// trusts tells whether peer is a proxy that is believed. Whoever has come by a socket in the file system is one: the
// folder of the socket decides who can.
func (p Proxies) trusts(peer netip.Addr) bool {
	if !peer.IsValid() {
		return len(p.Trusted) > 0
	}
	return slices.ContainsFunc(p.Trusted, func(t netip.Prefix) bool { return t.Contains(peer) })
}

// name returns the client for the log: with its port where it has connected itself.
func (p Proxies) name(r *http.Request) string {
	if !p.trusts(peerAddr(r)) {
		return r.RemoteAddr
	}
	addr, err := p.client(r)
	if err != nil {
		return "unknown by " + r.RemoteAddr
	}
	return addr.String()
}

// peerAddr is where the connection comes from. No header is believed.
func peerAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
