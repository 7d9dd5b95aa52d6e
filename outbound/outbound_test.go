package outbound_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"customhouse/outbound"
)

// TestS79_Addresses: which addresses a host may lead to, by whether the operator has named it.
func TestS79_Addresses(t *testing.T) {
	const never, named, always = 0, 1, 2
	for address, want := range map[string]int{
		"169.254.169.254": never, "169.254.0.1": never, "::ffff:169.254.169.254": never, "fe80::1": never, "fe80::1%eth0": never,
		"64:ff9b::a9fe:a9fe": never, "64:ff9b:1::a9fe:a9fe": never, "2002:a9fe:a9fe::1": never, "::a9fe:a9fe": never,
		"0.0.0.0": never, "0.1.2.3": never, "::": never, "255.255.255.255": never, "240.0.0.1": never, "224.0.0.1": never, "ff02::1": never,
		"100.100.100.200": never, "192.0.0.192": never, "168.63.129.16": never, "fd00:ec2::254": never, "fd20:ce::254": never, "fec0::1": never,
		"64:ff9b::0.0.0.0": never,

		"127.0.0.1": named, "127.1.2.3": named, "::1": named, "::ffff:127.0.0.1": named, "10.0.0.1": named, "172.16.0.1": named,
		"192.168.1.1": named, "100.64.0.1": named, "fc00::1": named, "fd12:3456::1": named, "64:ff9b::7f00:1": named, "2002:7f00:1::": named,

		"8.8.8.8": always, "172.32.0.1": always, "2001:4860:4860::8888": always, "64:ff9b::808:808": always,
	} {
		addr := netip.MustParseAddr(address)
		for private, ok := range map[bool]bool{false: want == always, true: want != never} {
			d := outbound.NewDialer(outbound.Options{Private: private})
			if err := d.Check(addr); (err == nil) != ok || err != nil && !errors.As(err, new(*outbound.ForbiddenError)) {
				t.Errorf("Check(%s), private %v = %v", address, private, err)
			}
		}
		allowed := outbound.NewDialer(outbound.Options{Allow: []netip.Prefix{netip.PrefixFrom(addr.Unmap().WithZone(""), addr.Unmap().BitLen())}})
		if err := allowed.Check(addr); err != nil {
			t.Errorf("Check(%s), which is allowed = %v", address, err)
		}
	}
}

// TestS79_Connect: however a host is spelled, the address that it leads to is what counts.
func TestS79_Connect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hits := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			hits <- struct{}{}
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	shut, open := outbound.NewDialer(outbound.Options{}), outbound.NewDialer(outbound.Options{Private: true})
	for _, host := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1"} {
		if c, err := shut.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port)); !errors.As(err, new(*outbound.ForbiddenError)) {
			t.Errorf("DialContext(%s) = %v, %v, want a ForbiddenError", host, c, err)
		}
	}
	for _, host := range []string{"0.0.0.0", "0", "2130706433", "0x7f000001", "017700000001"} {
		if c, err := open.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port)); err == nil {
			t.Errorf("DialContext(%s) = %v, want an error", host, c)
		}
	}
	if len(hits) != 0 {
		t.Errorf("%d connections came through", len(hits))
	}
	c, err := open.DialContext(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := open.DialContext(context.Background(), "unix", "/tmp/x"); err == nil {
		t.Error("DialContext(unix) = nil, want an error")
	}
}
