package customhouse_test

import (
	"fmt"
	"strings"
	"testing"

	"customhouse"
)

func TestReadScope(t *testing.T) {
	for text, want := range map[string]customhouse.Scope{
		"team/**:pull":             {Repo: "team/**", Actions: []customhouse.Action{"pull"}},
		"team/app:v*:pull,push":    {Repo: "team/app", Tag: "v*", Actions: []customhouse.Action{"pull", "push"}},
		"**:*":                     {Repo: "**", Actions: []customhouse.Action{"*"}},
		"/team-(?:a|b)/::pull":     {Repo: "/team-(?:a|b)/", Actions: []customhouse.Action{"pull"}},
		"a:/v[0-9]+/:tag,referrer": {Repo: "a", Tag: "/v[0-9]+/", Actions: []customhouse.Action{"tag", "referrer"}},
	} {
		got, err := customhouse.ReadScope(text)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || got.String() != text {
			t.Errorf("ReadScope(%q) = %+v, %v, want %+v and back", text, got, err, want)
		}
	}
	for _, text := range []string{"", "a", ":", "a:", ":pull", "a:b:", "a:admin", "a:PULL", "a:pull,,push", "a:pull;push", strings.Repeat("a", 256) + ":pull", "a:" + strings.Repeat("t", 256) + ":pull"} {
		if got, err := customhouse.ReadScope(text); err == nil || len(err.Error()) > 600 {
			t.Errorf("ReadScope(%.40q) = %+v, %v, want a short error", text, got, err)
		}
	}
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{"10.1.2.3": "10.1.2.3/32", "10.1.2.3/16": "10.1.0.0/16", "2001:db8::1/32": "2001:db8::/32", "::1": "::1/128"} {
		if got, err := customhouse.ParseNetwork(text); err != nil || got.String() != want {
			t.Errorf("ParseNetwork(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10.1.2", "10.0.0.0/33", "example.com", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "fe80::1%eth0", "fe80::%eth0/64", "/8", "10.0.0.0/-1"} {
		if got, err := customhouse.ParseNetwork(text); err == nil {
			t.Errorf("ParseNetwork(%q) = %v, want an error", text, got)
		}
	}
}
