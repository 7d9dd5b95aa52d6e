package policy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/policy"
)

// dockerAuth answers like DecideAll in the dialect of docker_auth, by the words of CompileDockerAuth and without any care
// for speed: every pattern is put together and compiled anew for each combination of values.
type dockerAuth struct {
	raw bool
	q   policy.Query
}

func (d dockerAuth) answer(rules []policy.Rule, actions list) string {
	for _, r := range rules {
		if !d.matches(r.Match) {
			continue
		}
		allowed := list{}
		for _, a := range actions {
			if slices.Equal(r.Actions, list{"*"}) || slices.Contains(r.Actions, a) {
				allowed = append(allowed, a)
			}
		}
		return fmt.Sprint(allowed)
	}
	return "no match"
}

func (d dockerAuth) matches(m policy.Match) bool {
	values := map[string]string{"account": d.q.Identity.Account, "type": d.q.Type, "name": d.q.Name, "service": d.q.Service}
	patterns := map[string]policy.Values{"account": m.Account, "type": m.Type, "name": m.Name, "service": m.Service}
	known := map[string]string{}
	for key, v := range values {
		known["${"+key+"}"] = regexp.QuoteMeta(v)
		if !d.raw {
			known["${"+key+"}"] = asText(v)
		}
	}
	for _, p := range patterns {
		if p == nil {
			continue
		}
		for _, found := range regexp.MustCompile(`\$\{(.+?):(\d+)\}`).FindAllStringSubmatch(p[0], -1) {
			key := strings.ToLower(found[1][:1]) + found[1][1:]
			if patterns[key] == nil {
				continue
			}
			of := patterns[key][0]
			if len(of) < 3 || !strings.HasPrefix(of, "/") || !strings.HasSuffix(of, "/") {
				continue
			}
			groups := regexp.MustCompile(of[1 : len(of)-1]).FindStringSubmatch(values[key])
			var n int
			fmt.Sscan(strings.TrimLeft(found[2], "0"), &n)
			if n > 0 && n < len(groups) {
				if known[found[0]] = groups[n]; !d.raw {
					known[found[0]] = asText(groups[n])
				}
			}
		}
	}
	for key, p := range patterns {
		if p != nil && !d.field(p[0], values[key], known) {
			return false
		}
	}
	for key, p := range m.Labels {
		if !slices.ContainsFunc(d.q.Identity.Labels[key], func(v string) bool { return d.text(p[0], v, known) }) {
			return false
		}
	}
	if m.IP == nil {
		return true
	}
	prefix, client := m.IP[0], net.ParseIP(d.q.Client.String())
	if ip := net.ParseIP(prefix); ip != nil {
		return client != nil && ip.Equal(client)
	}
	_, network, err := net.ParseCIDR(prefix)
	return err == nil && client != nil && network.Contains(client)
}

// field matches with the labels' placeholders as they stand, and then with every combination of values.
func (d dockerAuth) field(p, value string, known map[string]string) bool {
	if d.text(p, value, known) {
		return true
	}
	combinations := []map[string]string{known}
	some := false
	for key, values := range d.q.Identity.Labels {
		w := "${labels:" + key + "}"
		if !strings.Contains(p, w) {
			continue
		}
		some = true
		var more []map[string]string
		for _, c := range combinations {
			for _, v := range values {
				next := map[string]string{w: v}
				if !d.raw {
					next[w] = asText(v)
				}
				for k, v := range c {
					next[k] = v
				}
				more = append(more, next)
			}
		}
		combinations = more
	}
	return some && slices.ContainsFunc(combinations, func(c map[string]string) bool { return d.text(p, value, c) })
}

// text matches with what is known put in the place of placeholders.
func (d dockerAuth) text(p, value string, known map[string]string) bool {
	var pairs []string
	for k, v := range known {
		pairs = append(pairs, k, v)
	}
	s := strings.NewReplacer(pairs...).Replace(p)
	expression := len(s) > 2 && s[0] == '/' && s[len(s)-1] == '/'
	if !d.raw {
		expression = expression && len(p) > 2 && p[0] == '/' && p[len(p)-1] == '/'
	}
	if !expression {
		ok, err := path.Match(s, value)
		return ok && err == nil
	}
	re, err := regexp.Compile(s[1 : len(s)-1])
	return err == nil && re.MatchString(value)
}

// asText is text to globs and to expressions.
func asText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 && !strings.ContainsRune("/_@ \n", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// recorded are what docker_auth (authz, revision c67e175) was asked by a program that makes up rules and requests, and
// its answers: 5,000 with names that people have, 1,500 with names that are patterns.
func recorded(t testing.TB) []vector {
	t.Helper()
	f, err := os.Open("testdata/docker_auth_recorded.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "recorded.jsonl")
	if err := os.WriteFile(plain, bytes.TrimSpace(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return vectors(t, plain)
}

// TestS58_RecordedAnswers compares with what docker_auth has answered: with raw placeholders always, without them for
// names that are no patterns, but where a backslash stands before a placeholder.
func TestS58_RecordedAnswers(t *testing.T) {
	benign := 0
	for _, v := range recorded(t) {
		if got := v.answer(policy.DockerAuthOptions{RawPlaceholders: true}); got != v.want() {
			t.Errorf("%d, raw: %s, want %s\n%s\n%+v", v.N, got, v.want(), v.Rules, v.Request)
		}
		if v.ID != "benign" || strings.Contains(v.Rules, `\\${`) {
			continue
		}
		benign++
		if got := v.answer(policy.DockerAuthOptions{}); got != v.want() {
			t.Errorf("%d: %s, want %s\n%s\n%+v", v.N, got, v.want(), v.Rules, v.Request)
		}
	}
	if benign < 4800 {
		t.Errorf("only %d benign questions", benign)
	}
}

// TestDockerAuthReference holds the reference of the tests below against what docker_auth has answered.
func TestDockerAuthReference(t *testing.T) {
	for i, v := range recorded(t) {
		if v.Observed.Outcome == "config_invalid" || i%2 == 0 {
			continue
		}
		rules, err := v.rules()
		if err != nil {
			t.Fatal(err)
		}
		if got := (dockerAuth{raw: true, q: v.query()}).answer(rules, v.Request.Actions); got != v.want() {
			t.Errorf("%d: %s, want %s\n%s\n%+v", v.N, got, v.want(), v.Rules, v.Request)
		}
	}
}

func (v vector) query() policy.Query {
	return policy.Query{
		Identity: customhouse.Identity{Account: v.Request.Account, Labels: v.Request.Labels},
		Client:   v.Request.IP, Type: v.Request.Type, Name: v.Request.Name, Service: v.Request.Service,
	}
}

// aclWorld makes up rules in the dialect of docker_auth.
type aclWorld struct{ world }

func (w aclWorld) value() string {
	return w.pick("", "a", "b", "bob", "ab", "a-b", "a.b", "*", ".*", "/x/", "[ab]", "a|b", "?", "\\", "(", "-", "^a", "${name}", "é")
}

func (w aclWorld) placeholder() string {
	return w.pick("${account}", "${name}", "${service}", "${type}", "${account:1}", "${Account:2}", "${name:1}", "${service:1}",
		"${labels:p}", "${labels:g}", "${labels:none}", "${foo}", "${account:0}")
}

func (w aclWorld) pattern() string {
	var b strings.Builder
	switch w.IntN(5) {
	case 0:
		return w.value()
	case 1, 2:
		for range 1 + w.IntN(3) {
			b.WriteString(w.pick("*", "?", "/", "-", "[a-c]", "[^b]", "a", "bob", w.placeholder(), w.placeholder(), "\\*", "**", "["))
		}
		return b.String()
	}
	for range 1 + w.IntN(4) {
		b.WriteString(w.pick("^", "$", ".*", "(.+)", "([^/]+)", "/", "-", "(a|bob)", "a", "bob", "b?", "[ab]+", "(?i)A", w.placeholder(), w.placeholder(),
			"("+w.placeholder()+"|a)", "("+w.placeholder()+")?", "(?:a"+w.placeholder()+"){1,2}", "["+w.placeholder()+"b]", w.placeholder()+w.pick("*", "+", "?")))
	}
	return "/" + b.String() + "/"
}

func (w aclWorld) rules() []policy.Rule {
	var rules []policy.Rule
	for range 1 + w.IntN(6) {
		r := policy.Rule{Actions: list{}, Match: policy.Match{
			Account: w.maybe(w.pattern), Name: w.maybe(w.pattern),
		}}
		if w.IntN(4) == 0 {
			r.Match.Service = w.maybe(w.pattern)
			r.Match.Type = w.maybe(func() string { return w.pick("repository", "re*", "/y$/", "registry") })
			r.Match.IP = w.maybe(func() string { return w.pick("10.0.0.0/8", "::/0", "10.1.1.1", "::ffff:10.0.0.0/104") })
		}
		if w.IntN(3) == 0 {
			r.Match.Labels = map[string]policy.Values{w.pick("p", "g"): {w.pattern()}}
		}
		for range w.IntN(4) {
			r.Actions = append(r.Actions, customhouse.Action(w.pick("pull", "push", "delete", "*", "frob")))
		}
		rules = append(rules, r)
	}
	return rules
}

func (w aclWorld) query(rules []policy.Rule) policy.Query {
	q := policy.Query{
		Identity: customhouse.Identity{Account: w.value(), Labels: map[string][]string{}},
		Type:     w.pick("repository", "registry", "frob"), Service: w.value(), Name: w.value(),
		Client: netip.MustParseAddr(w.pick("10.1.1.1", "192.0.2.1", "2001:db8::1", "::ffff:10.1.1.1")),
	}
	for _, key := range []string{"p", "g"} {
		for range w.IntN(4) {
			q.Identity.Labels[key] = append(q.Identity.Labels[key], w.value())
		}
	}
	if p := rules[w.IntN(len(rules))].Match.Name; p != nil && w.IntN(2) == 0 { // what is likely to match
		pairs := []string{"${account}", q.Identity.Account, "${account:1}", q.Identity.Account, "${service}", q.Service,
			"(.+)", "b", "([^/]+)", "a", "*", "x", ".*", "bb", "^", "", "$", "", "(a|bob)", "bob"}
		for key, values := range q.Identity.Labels {
			pairs = append(pairs, "${labels:"+key+"}", values[w.IntN(len(values))])
		}
		q.Name = strings.NewReplacer(pairs...).Replace(strings.Trim(p[0], "/"))
	}
	return q
}

// TestS26_DockerAuthLeastGrant compares what is granted for 10,000 random rules, identities and scopes, of each kind of
// placeholders, with the reference: what is asked for and allowed, and nothing else.
func TestS26_DockerAuthLeastGrant(t *testing.T) {
	w := aclWorld{world{rand.New(rand.NewPCG(2, 6))}}
	for _, raw := range []bool{false, true} {
		granted, asked := 0, 0
		for asked < 10_000 {
			rules := w.rules()
			p, err := policy.CompileDockerAuth(rules, policy.DockerAuthOptions{RawPlaceholders: raw})
			if err != nil {
				continue // an expression that is none
			}
			for range 5 {
				asked++
				q := w.query(rules)
				actions := list{}
				for range 1 + w.IntN(3) {
					actions = append(actions, customhouse.Action(w.pick("pull", "push", "delete", "*", "frob")))
				}
				got, want := askOf(p, q, actions), dockerAuth{raw, q}.answer(rules, actions)
				if got != want {
					t.Fatalf("raw %v: %s, want %s\nrules %s\nquery %+q", raw, got, want, show(rules), q)
				}
				if want != "no match" && want != "[]" {
					granted++
				}
				q.Action = actions[0]
				if trace := p.Explain(q); trace.Decision != p.Decide(q) {
					t.Fatalf("Explain = %+v, Decide = %+v\nrules %s\nquery %+v", trace.Decision, p.Decide(q), show(rules), q)
				}
			}
		}
		if granted < asked/20 {
			t.Errorf("raw %v: only %d of %d requests were granted something; the test says little", raw, granted, asked)
		}
	}
}

// TestS57_DockerAuthPlaceholdersAreLiteral matches 10,000 pairs of patterns and values full of special characters, and
// wants nothing to match but what contains the value as it is.
func TestS57_DockerAuthPlaceholdersAreLiteral(t *testing.T) {
	w := world{rand.New(rand.NewPCG(5, 7))}
	hostile := func() string {
		var b strings.Builder
		for range 1 + w.IntN(4) {
			b.WriteString(w.pick("a", "b", "*", "?", "[", "]", "[a-z]", "[^x]", "\\", ".", ".*", ".+", "|", "(", ")", "(?i)", "^", "$", "{2}", "+", "\\E", "\\Q", "\\d", "${account}", "**", "-", ",", "#"))
		}
		return b.String()
	}
	account := "/^(.+)@corp$/"
	type pattern struct {
		name    func(account, label string) string // that matches
		matches func(name, account, label string) bool
	}
	exactly := func(name func(a, l string) string) pattern {
		return pattern{name, func(n, a, l string) bool { return n == name(a, l) }}
	}
	user := func(a string) string { return strings.TrimSuffix(a, "@corp") }
	patterns := map[string]pattern{
		"${account}":          exactly(func(a, l string) string { return a }),
		"${account}/x":        exactly(func(a, l string) string { return a + "/x" }),
		"${account:1}/x":      exactly(func(a, l string) string { return user(a) + "/x" }),
		"/^${account:1}/x$/":  exactly(func(a, l string) string { return user(a) + "/x" }),
		"/^(${account:1})$/":  exactly(func(a, l string) string { return user(a) }),
		"/^${account}$/":      exactly(func(a, l string) string { return a }),
		"/^${labels:p}/x$/":   exactly(func(a, l string) string { return l + "/x" }),
		"/^(?:${labels:p})$/": exactly(func(a, l string) string { return l }),
		"${labels:p}/x":       exactly(func(a, l string) string { return l + "/x" }),
		"/${labels:p}/":       {func(a, l string) string { return "x" + l }, func(n, a, l string) bool { return strings.Contains(n, l) }},
	}
	compiled := map[string]*policy.Policy{}
	for pattern := range patterns {
		var err error
		if compiled[pattern], err = policy.CompileDockerAuth([]policy.Rule{{Match: policy.Match{Account: policy.Values{account}, Name: policy.Values{pattern}}, Actions: list{"*"}}}, policy.DockerAuthOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	matches := 0
	for range 1000 {
		a, l := hostile()+"@corp", hostile()
		q := policy.Query{Action: "push", Identity: customhouse.Identity{Account: a, Labels: map[string][]string{"p": {l}}}}
		for pattern, want := range patterns {
			if q.Name = w.pick("victim/x", "a", "ab", "b/x", "aa", "abab/x", "[a/x", "."); w.IntN(2) == 0 {
				q.Name = want.name(a, l)
			}
			got := compiled[pattern].Decide(q).Allowed
			if got != want.matches(q.Name, a, l) {
				t.Fatalf("pattern %q, name %q, account %q, label %q: matches = %v", pattern, q.Name, a, l, got)
			}
			if got {
				matches++
			}
		}
	}
	if matches < 3000 {
		t.Fatalf("only %d of 10,000 pairs match; the test says little", matches)
	}
}

// TestS59_Combinations has labels with very many values.
func TestS59_Combinations(t *testing.T) {
	rules := []policy.Rule{
		{Match: policy.Match{Name: policy.Values{"${labels:a}${labels:b}${labels:c}/private"}}, Actions: list{}},
		{Actions: list{"pull"}},
	}
	labels := map[string][]string{}
	for i := range 50 {
		labels["a"] = append(labels["a"], fmt.Sprint("a", i))
		labels["b"] = append(labels["b"], fmt.Sprint("-b", i))
		labels["c"] = append(labels["c"], fmt.Sprint("-c", i))
	}
	p, err := policy.CompileDockerAuth(rules, policy.DockerAuthOptions{})
	if err != nil {
		t.Fatal(err)
	}
	q := policy.Query{Identity: customhouse.Identity{Account: "bob", Labels: labels}, Name: "a7-b31-c49/private", Action: "pull"}
	if d := p.Decide(q); d.Rule != 0 || strings.Contains(d.Reason, policy.Excessive) {
		t.Errorf("Decide of one of 125,000 combinations = %+v, want the first rule", d)
	}
	q.Name = "a7-b31-d/private"
	if d := p.Decide(q); !d.Allowed {
		t.Errorf("Decide of no combination = %+v, want the second rule", d)
	}
	// All values are in the name: then there is nothing to leave out, and the answer is no for all.
	for key := range labels {
		labels[key] = nil
		for i := range 50 {
			labels[key] = append(labels[key], strings.Repeat("a", i+1))
		}
	}
	q.Name = strings.Repeat("a", 200) + "/public/private"
	if d := p.Decide(q); d.Allowed || !strings.Contains(d.Reason, policy.Excessive) || d.Undecided() {
		t.Errorf("Decide of too many combinations = %+v, want no", d)
	}
}

// FuzzDockerAuth looks for patterns of docker_auth that compile and do not behave: the reference answers as well, and so
// do Explain and Lint.
func FuzzDockerAuth(f *testing.F) {
	for _, s := range []string{"a/*", "**", "[^a-z]?", `\*`, "${account}/*", "/^${labels:p}.*/", "/[${account}]/", "/${account:1}+/", "/a{${labels:p}}/", "//", "/(${labels:p}|a)$/"} {
		f.Add(s, "/^(.+)@x$/", "a/b", "a@x", "b")
	}
	f.Fuzz(func(t *testing.T, name, account, value, who, label string) {
		rules := []policy.Rule{{Match: policy.Match{Account: policy.Values{account}, Name: policy.Values{name}}, Actions: list{"pull"}}}
		q := policy.Query{Name: value, Action: "pull", Identity: customhouse.Identity{Account: who, Labels: map[string][]string{"p": {label, "other"}}}}
		for _, raw := range []bool{false, true} {
			p, err := policy.CompileDockerAuth(rules, policy.DockerAuthOptions{RawPlaceholders: raw})
			if err != nil {
				return
			}
			if trace := p.Explain(q); trace.Decision != p.Decide(q) {
				t.Fatalf("Explain(%q, %q) = %v, want %v", name, account, trace.Decision, p.Decide(q))
			}
			p.Lint(time.Time{})
			if !raw && (strings.Contains(name+account, `\`)) || strings.Contains(name+account, "{") && strings.Contains(name+account, ",") {
				continue // what stands before or around a placeholder may change its meaning
			}
			if got, want := askOf(p, q, list{"pull"}), (dockerAuth{raw, q}).answer(rules, list{"pull"}); got != want {
				t.Fatalf("raw %v: name %q, account %q, value %q of %q with %q: %s, want %s", raw, name, account, value, who, label, got, want)
			}
		}
	})
}

// BenchmarkDockerAuth is what it costs to have 1,000 rules with expressions before the one that matches.
func BenchmarkDockerAuth(b *testing.B) {
	kinds := map[string]func(i int) policy.Match{
		"names": func(i int) policy.Match { return policy.Match{Name: policy.Values{fmt.Sprintf("/^team%d/.*$/", i)}} },
		"accounts": func(i int) policy.Match {
			return policy.Match{Account: policy.Values{fmt.Sprintf("/^user%d@(corp|acme)$/", i)}, Name: policy.Values{"/^${account}/.*$/"}}
		},
		"globs": func(i int) policy.Match {
			return policy.Match{Account: policy.Values{fmt.Sprintf("user%d", i)}, Name: policy.Values{"${account}/*"}}
		},
		"labels": func(i int) policy.Match {
			return policy.Match{Labels: map[string]policy.Values{"group": {fmt.Sprintf("/^group-%d$/", i)}}}
		},
	}
	q := policy.Query{
		Identity: customhouse.Identity{Account: "someone", Labels: map[string][]string{"group": {"dev", "ops"}}},
		Client:   netip.MustParseAddr("192.0.2.7"), Service: "r.example", Type: "repository", Name: "acc/app/one", Action: customhouse.Pull,
	}
	for kind, match := range kinds {
		for _, n := range []int{0, 10, 1000} {
			var rules []policy.Rule
			for i := range n {
				rules = append(rules, policy.Rule{Match: match(i), Actions: list{"pull"}})
			}
			rules = append(rules, policy.Rule{Match: policy.Match{Name: policy.Values{"/^acc/.*$/"}}, Actions: list{"pull"}})
			p, err := policy.CompileDockerAuth(rules, policy.DockerAuthOptions{})
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d rules before", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if !p.Decide(q).Allowed {
						b.Fatal("Decide = no")
					}
				}
			})
		}
	}
}
