package authn_test

import (
	"bufio"
	"net"
	"slices"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// recorder is an LDAP server that writes down what it is asked and answers as it is told.
type recorder struct {
	url string

	// What to send in answer to a search and to StartTLS; nil finds nothing, and refuses.
	onSearch, onStartTLS func(c net.Conn, id int64)

	mu          sync.Mutex
	connections int
	binds       [][2]string   // DN and password
	searches    []*ber.Packet // filters
}

// record starts a recorder, which ends with the test.
func record(t testing.TB, address string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{url: "ldap://" + l.Addr().String()}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.connections++
			r.mu.Unlock()
			t.Cleanup(func() { c.Close() })
			open.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(open.Wait)
	t.Cleanup(func() { l.Close() })
	return r
}

func (r *recorder) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		p, err := ber.ReadPacket(in)
		if err != nil || len(p.Children) < 2 {
			return
		}
		id, _ := p.Children[0].Value.(int64)
		switch op := p.Children[1]; op.Tag {
		case ldap.ApplicationBindRequest:
			r.mu.Lock()
			r.binds = append(r.binds, [2]string{op.Children[1].Data.String(), op.Children[2].Data.String()})
			r.mu.Unlock()
			c.Write(result(id, ldap.ApplicationBindResponse, ldap.LDAPResultInvalidCredentials))
		case ldap.ApplicationSearchRequest:
			r.mu.Lock()
			r.searches = append(r.searches, op.Children[6])
			r.mu.Unlock()
			if r.onSearch != nil {
				r.onSearch(c, id)
			} else {
				c.Write(result(id, ldap.ApplicationSearchResultDone, ldap.LDAPResultSuccess))
			}
		case ldap.ApplicationExtendedRequest:
			if r.onStartTLS != nil {
				r.onStartTLS(c, id)
			} else {
				c.Write(result(id, ldap.ApplicationExtendedResponse, ldap.LDAPResultProtocolError))
			}
		case ldap.ApplicationUnbindRequest:
			return
		}
	}
}

// seen returns what was asked since it was asked for last.
func (r *recorder) seen() (connections int, binds [][2]string, searches []*ber.Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	connections, binds, searches = r.connections, slices.Clone(r.binds), slices.Clone(r.searches)
	r.connections, r.binds, r.searches = 0, nil, nil
	return connections, binds, searches
}

// message returns a response with its parts.
func message(id int64, op ber.Tag, parts ...*ber.Packet) []byte {
	m := ber.NewSequence("")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	body := ber.Encode(ber.ClassApplication, ber.TypeConstructed, op, nil, "")
	for _, p := range parts {
		body.AppendChild(p)
	}
	m.AppendChild(body)
	return m.Bytes()
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// result returns the end of an operation.
func result(id int64, op ber.Tag, code uint16) []byte {
	return message(id, op, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""), octets(""), octets(""))
}

// entry returns an entry whose attribute uid has a value.
func entry(id int64, dn, uid string) []byte {
	values := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
	values.AppendChild(octets(uid))
	attribute, attributes := ber.NewSequence(""), ber.NewSequence("")
	attribute.AppendChild(octets("uid"))
	attribute.AppendChild(values)
	attributes.AppendChild(attribute)
	return message(id, ldap.ApplicationSearchResultEntry, octets(dn), attributes)
}
