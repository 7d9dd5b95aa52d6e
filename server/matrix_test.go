package server_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/server"
	"customhouse/token"
)

var update = flag.Bool("update", false, "write the golden files anew")

// endpoint is a shape of URL: R stands for a repository. What it names beside the repository and the tag latest is
// nowhere, so that no request of the matrix changes what another one sees: 404 and 400 say that the gate was passed.
type endpoint struct {
	path, query string
}

var endpoints = []endpoint{
	{"/v2", ""},
	{"/v2/", ""},
	{"/v2/_catalog", ""},
	{"/v2/R/tags/list", ""},
	{"/v2/R/manifests/latest", ""},
	{"/v2/R/manifests/" + nowhere, ""},
	{"/v2/R/manifests/" + nowhere, "?tag=latest"},
	{"/v2/R/referrers/" + nowhere, ""},
	{"/v2/R/blobs/" + nowhere, ""},
	{"/v2/R/blobs/uploads", ""},
	{"/v2/R/blobs/uploads/", ""},
	{"/v2/R/blobs/uploads/", "?digest=" + nowhere},
	{"/v2/R/blobs/uploads/", "?mount=" + nowhere + "&from=a/app"},
	{"/v2/R/blobs/uploads/NOSUCHUPLOAD", ""},
	{"/v2/R/blobs/uploads/NOSUCHUPLOAD", "?digest=" + nowhere},
	{"/token", ""},
	{"/.well-known/jwks.json", ""},
	{"/livez", ""},
	{"/readyz", ""},
	{"/", ""},
	{"/metrics", ""},
	{"/debug/pprof/", ""},
	{"/api/", ""},
	{"/api/whoami", ""},
	{"/api/repositories", "?search=app"},
	{"/api/audit", "?n=1"},
	{"/api/explain", "?repo=a/app"},
	{"/api/access", "?repo=a/app"},
	{"/v1/_ping", ""},
}

var nowhere = "sha256:" + strings.Repeat("0123456789abcdef", 4)

var targets = []string{"pub/app", "a/app", "a/none"}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MOVE"}

// spellings are ways to write a path that a sloppy router takes for the same.
var spellings = []struct {
	name  string
	spell func(string) string
}{
	{"canonical", func(s string) string { return s }},
	{"slash behind", func(s string) string { return s + "/" }},
	{"double slash", func(s string) string { return s[:1] + s }},
	{"double slash inside", func(s string) string {
		i := max(strings.LastIndexByte(strings.TrimSuffix(s, "/"), '/'), 0)
		return s[:i] + "/" + s[i:]
	}},
	{"escaped slash", func(s string) string { return s[:1] + strings.ReplaceAll(s[1:], "/", "%2f") }},
	{"last slash escaped", func(s string) string {
		i := strings.LastIndexByte(strings.TrimSuffix(s, "/"), '/')
		return s[:max(i, 1)] + strings.ReplaceAll(s[max(i, 1):], "/", "%2F")
	}},
	{"upper case", strings.ToUpper},
	{"dot segment", func(s string) string { return "/x/.." + s }},
}

// identities are who asks, in the order of the columns.
func identities(t *testing.T, h *house) (names []string, people []person) {
	add := func(name string, p person) { names, people = append(names, name), append(people, p) }
	add("anonymous", h.as(""))
	add("anonymous token", h.with(h.token("", "repository:a/app:pull", "repository:pub/app:pull")))
	add("alice pulls a/**", h.as("alice"))
	add("bob pushes b/**", h.as("bob"))
	add("creator of a/**", h.as("creator"))
	add("updater of a/**", h.as("updater"))
	add("deleter of a/**", h.as("deleter"))
	add("robot pushes a/app", h.as("robot"))
	add("project has a/**", h.as("project"))
	add("admin", h.as("admin"))
	add("admin's token to pull a/app", h.with(h.token("admin", "repository:a/app:pull")))
	add("admin's token to push a/app", h.with(h.token("admin", "repository:a/app:push")))
	forge := func(issuer, audience string, expires time.Duration) person {
		a, err := token.NewAuthority(issuer, audience, h.keys)
		must(t, err)
		now := time.Now()
		text, err := a.Sign(token.Claims{
			Subject: "admin", IssuedAt: now.Add(-time.Hour), NotBefore: now.Add(-time.Hour), Expires: now.Add(expires),
			Access: []customhouse.Access{{Type: "repository", Name: "a/app", Actions: []customhouse.Action{"pull", "push", "delete"}}},
		})
		must(t, err)
		return h.with(text)
	}
	add("expired token", forge("customhouse", service, -2*time.Minute))
	add("token for another audience", forge("customhouse", "other.test", time.Minute))
	add("token of another issuer", forge("elsewhere", service, time.Minute))
	add("wrong password", person{h, "Basic YWRtaW46d3Jvbmc="})
	return names, people
}

// TestS1_Matrix asks for everything, in every way, as everybody, and compares the statuses with a committed table.
func TestS1_Matrix(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	images := map[string]stored{
		"pub/app": admin.pushImage("pub/app", "latest", "public"),
		"a/app":   admin.pushImage("a/app", "latest", "private"),
	}
	names, people := identities(t, h)

	var table strings.Builder
	fmt.Fprintf(&table, "# Statuses by identity, for the repositories %s.\n", strings.Join(targets, ", "))
	table.WriteString("# What a path names beside a repository and the tag latest is nowhere: 400 and 404 behind 401 and 403 mean admitted.\n# Columns:")
	for i, name := range names {
		fmt.Fprintf(&table, " %d %s;", i+1, name)
	}
	table.WriteString("\n")
	reached := map[string]bool{}
	for _, spelling := range spellings {
		fmt.Fprintf(&table, "\n== %s ==\n", spelling.name)
		for _, e := range endpoints {
			fmt.Fprintf(&table, "%s\n", strings.ReplaceAll(spelling.spell(e.path)+e.query, nowhere, "DIGEST"))
			var last, same string
			flush := func() {
				if same != "" {
					fmt.Fprintf(&table, "    %-40s %s\n", same, last)
				}
			}
			for _, method := range methods {
				var cells []string
				for _, target := range targets {
					path := spelling.spell(strings.Replace(e.path, "R", target, 1)) + e.query
					if u, err := url.ParseRequestURI(path); err == nil && strings.HasPrefix(u.Path, "/v2") {
						if op, err := server.ParseOperation(method, u); err == nil {
							reached[op] = true
						}
					}
					var statuses []string
					for _, p := range people {
						a := p.do(method, path, nil)
						statuses = append(statuses, fmt.Sprint(a.status))
						if a.status == http.StatusAccepted && method == "DELETE" {
							admin.putManifest(target, "latest", images[target].manifest).want(http.StatusCreated, "")
						}
					}
					cells = append(cells, squeeze(statuses))
				}
				row := strings.Join(slices.Compact(cells), " | ")
				if row != last {
					flush()
					last, same = row, method
				} else {
					same += " " + method
				}
			}
			flush()
		}
	}
	for _, op := range server.Operations() {
		if !reached[op] {
			t.Errorf("no row of the matrix reaches %q", op)
		}
	}
	golden(t, "matrix.txt", table.String())
}

// squeeze writes equal statuses once.
func squeeze(statuses []string) string {
	if all := slices.Compact(slices.Clone(statuses)); len(all) == 1 {
		return "all " + all[0]
	}
	return strings.Join(statuses, " ")
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s is not what it was (-want +got); go test ./server -update writes it anew:\n%s", name, diff)
	}
}

// TestS1_OtherSpellingsOpenNothing: whoever is refused under the usual spelling is refused under every other.
func TestS1_OtherSpellingsOpenNothing(t *testing.T) {
	h := open(t, setup{})
	h.as("admin").pushImage("a/app", "latest", "private")
	bob := h.as("bob")
	for _, e := range endpoints {
		if !strings.Contains(e.path, "/R/") {
			continue
		}
		for _, spelling := range spellings {
			path := spelling.spell(strings.Replace(e.path, "R", "a/app", 1)) + e.query
			for _, method := range methods {
				if a := bob.do(method, path, nil); a.status < http.StatusBadRequest {
					t.Errorf("%s = %d for somebody who may nothing there", a.what, a.status)
				}
			}
		}
	}
}
