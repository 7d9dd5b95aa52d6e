//go:build linux

package e2e_test

import (
	"path/filepath"
	"testing"
)

// The example that the README starts with promises something to each of its people.
func TestTwoUsersExample(t *testing.T) {
	t.Parallel()
	anyone := newCrane(t)
	s, l := serve(t, filepath.Join(root, "examples", "two-users", "customhouse.yml")), newLayout(t)
	login := func(account string) client {
		c := newCrane(t)
		c.run(t, "auth", "login", s.host, "-u", account, "-p", account+"-secret")
		return c
	}
	writer, reader, tenant := login("writer"), login("reader"), login("tenant")
	app, theirs := s.host+"/acc/app:v1", s.host+"/u3/app:v1"

	writer.run(t, "push", l.dir, app)
	writer.run(t, "push", l.dir, s.host+"/bench/app:v1")
	tenant.run(t, "push", l.dir, theirs)

	t.Run("catalog", func(t *testing.T) {
		wantLines(t, writer.run(t, "catalog", s.host), "acc/app", "bench/app", "u3/app")
		wantLines(t, reader.run(t, "catalog", s.host), "acc/app")
		wantLines(t, tenant.run(t, "catalog", s.host), "u3/app")
		wantLines(t, anyone.run(t, "catalog", s.host))
	})
	for _, test := range []struct {
		name   string
		person client
		words  []string // of the refusal; none if allowed
		args   []string
	}{
		{"writer deletes", writer, nil, []string{"delete", s.host + "/bench/app:v1"}},
		{"writer pushes elsewhere", writer, denied, []string{"push", l.dir, s.host + "/u3/app:v2"}},
		{"writer pulls elsewhere", writer, denied, []string{"digest", theirs}},
		{"reader pulls", reader, nil, []string{"digest", app}},
		{"reader pushes", reader, denied, []string{"push", l.dir, s.host + "/acc/app:v2"}},
		{"reader deletes", reader, denied, []string{"delete", app}},
		{"reader pulls elsewhere", reader, denied, []string{"digest", theirs}},
		{"tenant pulls", tenant, nil, []string{"digest", theirs}},
		{"tenant pulls elsewhere", tenant, denied, []string{"digest", app}},
		{"tenant pushes elsewhere", tenant, denied, []string{"push", l.dir, s.host + "/acc/app:v2"}},
		{"tenant deletes", tenant, denied, []string{"delete", theirs}},
		{"nobody pulls", anyone, unauthorized, []string{"digest", app}},
		{"nobody pushes", anyone, unauthorized, []string{"push", l.dir, s.host + "/acc/app:v2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.words == nil {
				test.person.run(t, test.args...)
			} else {
				test.person.refuse(t, test.words, test.args...)
			}
		})
	}
}
