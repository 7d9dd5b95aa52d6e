package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"customhouse"
	"customhouse/policy"
)

// reference answers like Decide, by the words of the package comment and without any care for speed.
func reference(rules []policy.Rule, q policy.Query) bool {
	if q.Action == customhouse.Push {
		create, update := q, q
		create.Action, update.Action = customhouse.Create, customhouse.Update
		return reference(rules, create) || reference(rules, update)
	}
	lists := func(r policy.Rule) bool {
		return slices.Contains(r.Actions, customhouse.All) || slices.Contains(r.Actions, q.Action) ||
			(q.Action == customhouse.Create || q.Action == customhouse.Update) && slices.Contains(r.Actions, customhouse.Push)
	}
	for _, r := range rules {
		switch {
		case !referenceMatches(r.Match, q):
		case r.Effect != policy.Deny:
			return lists(r)
		case len(r.Actions) == 0 || lists(r):
			return false
		}
	}
	return false
}

func referenceMatches(m policy.Match, q policy.Query) bool {
	text := func(p policy.Values, value string) bool { return p == nil || referencePattern(p[0], value, q) }
	account := m.Account == nil || m.Account[0] == q.Identity.Account ||
		m.Account[0] != "" && q.Identity.Account != "" && referencePattern(m.Account[0], q.Identity.Account, q)
	if !account || !text(m.Type, q.Type) || !text(m.Name, q.Name) || !text(m.Service, q.Service) {
		return false
	}
	if m.IP != nil && !netip.MustParsePrefix(m.IP[0]).Contains(q.Client) {
		return false
	}
	for k, p := range m.Labels {
		if !slices.ContainsFunc(q.Identity.Labels[k], func(v string) bool { return referencePattern(p[0], v, q) }) {
			return false
		}
	}
	return true
}

var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// referencePattern tries every value of every placeholder in turn.
func referencePattern(p, value string, q policy.Query) bool {
	at := placeholder.FindStringSubmatchIndex(p)
	if at == nil {
		return referenceFixed(p, value)
	}
	whole, name := p[at[0]:at[1]], p[at[2]:at[3]]
	values := map[string][]string{
		"account": {q.Identity.Account}, "type": {q.Type}, "name": {q.Name}, "service": {q.Service},
	}[name]
	if key, ok := strings.CutPrefix(name, "labels:"); ok {
		values = q.Identity.Labels[key]
	}
	return slices.ContainsFunc(values, func(v string) bool {
		if v == "" {
			return false
		}
		literal := regexp.QuoteMeta(v)
		if !strings.HasPrefix(p, "/") {
			literal = regexp.MustCompile(`.`).ReplaceAllString(v, `\$0`) // a backslash before each character
		}
		return referencePattern(strings.ReplaceAll(p, whole, literal), value, q)
	})
}

func referenceFixed(p, value string) bool {
	if len(p) > 2 && p[0] == '/' && p[len(p)-1] == '/' {
		return regexp.MustCompile("^(?:" + p[1:len(p)-1] + ")$").MatchString(value)
	}
	return referenceGlob(p, value)
}

// referenceGlob reads patterns whose classes are of the form [ab] or [^a].
func referenceGlob(p, s string) bool {
	if p == "" {
		return s == ""
	}
	_, n := utf8.DecodeRuneInString(s)
	one := s != "" && s[0] != '/'
	switch {
	case p[0] == '\\':
		return s != "" && p[1] == s[0] && referenceGlob(p[2:], s[1:])
	case strings.HasPrefix(p, "**"):
		return referenceGlob(p[2:], s) || s != "" && referenceGlob(p, s[1:])
	case p[0] == '*':
		return referenceGlob(p[1:], s) || one && referenceGlob(p, s[1:])
	case p[0] == '?':
		return one && referenceGlob(p[1:], s[n:])
	case p[0] == '[':
		class, rest, _ := strings.Cut(p[1:], "]")
		set, negated := strings.CutPrefix(class, "^")
		return one && strings.Contains(set, s[:n]) != negated && referenceGlob(rest, s[n:])
	}
	return s != "" && p[0] == s[0] && referenceGlob(p[1:], s[1:])
}

// world makes small random policies and queries, such that about as many match as do not.
type world struct{ *rand.Rand }

func (w world) pick(from ...string) string { return from[w.IntN(len(from))] }

func (w world) text() string { return w.pick("a", "b", "ab", "a/b", "b/a", "a/a/b", "ab/ba", "b/ab/a") }

func (w world) pattern() string {
	if w.IntN(12) == 0 {
		return w.pick("/a.*/", "/(a|b)+/", "/a|b/.*/", "/${account}/.*/", "/.*${labels:p}/", "/(?i)${account}|b/", "/${labels:p}/${labels:p}/")
	}
	var b strings.Builder
	for range 1 + w.IntN(4) {
		b.WriteString(w.pick("a", "b", "/", "*", "*", "**", "?", "[ab]", "[^a]", `\a`, "${account}", "${labels:p}", "${labels:g}", "${type}"))
	}
	p := b.String()
	if strings.Count(p, "${labels:p}") > 1 && strings.Count(p, "${labels:g}") > 1 || strings.Contains(p, "***") || p[0] == '/' {
		return "**"
	}
	return p
}

func (w world) maybe(make func() string) policy.Values {
	if w.IntN(2) == 0 {
		return nil
	}
	return policy.Values{make()}
}

func (w world) rule() policy.Rule {
	r := policy.Rule{Actions: []customhouse.Action{}}
	r.Match.Name = w.maybe(w.pattern)
	r.Match.Account = w.maybe(func() string { return w.pick("", "a", "b", "a/b", "*", "**", w.pattern()) })
	if w.IntN(4) == 0 {
		r.Match.Labels = map[string]policy.Values{w.pick("p", "g"): {w.pattern()}}
	}
	if w.IntN(6) == 0 {
		r.Match.Type = policy.Values{w.pick("repository", "registry", "re*")}
	}
	if w.IntN(6) == 0 {
		r.Match.IP = policy.Values{w.pick("10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32")}
	}
	for range w.IntN(4) {
		r.Actions = append(r.Actions, w.action())
	}
	if w.IntN(4) == 0 {
		r.Effect = policy.Deny
	}
	return r
}

func (w world) action() customhouse.Action {
	return []customhouse.Action{customhouse.Pull, customhouse.Push, customhouse.Create, customhouse.Update, customhouse.Delete, customhouse.All}[w.IntN(6)]
}

func (w world) rules() []policy.Rule {
	rules := make([]policy.Rule, 1+w.IntN(6))
	for i := range rules {
		rules[i] = w.rule()
	}
	return rules
}

func (w world) query() policy.Query {
	q := policy.Query{Service: "s", Type: w.pick("repository", "registry"), Name: w.text(), Action: w.action()}
	q.Client = netip.MustParseAddr(w.pick("10.1.2.3", "10.2.3.4", "2001:db8::1"))
	q.Identity.Account = w.pick("", "a", "b", "ab", "a/b", "*", "**")
	if q.Identity.Account != "" {
		q.Identity.Labels = map[string][]string{}
		for _, key := range []string{"p", "g"} {
			for range w.IntN(3) {
				q.Identity.Labels[key] = append(q.Identity.Labels[key], w.pick("", "a", "b", "ab", "*", "a/b", "**", "[ab]"))
			}
		}
	}
	return q
}

// TestDecideAgreesWithReference compares 100,000 decisions of random policies.
func TestDecideAgreesWithReference(t *testing.T) {
	w := world{rand.New(rand.NewPCG(1, 2))}
	allowed := 0
	for range 10_000 {
		rules := w.rules()
		p := compile(t, rules...)
		for range 10 {
			q := w.query()
			got, want := p.Decide(q).Allowed, reference(rules, q)
			if got != want {
				t.Fatalf("Decide = %v, want %v\nrules %s\nquery %+v", got, want, show(rules), q)
			}
			if want {
				allowed++
			}
		}
	}
	if allowed < 10_000 || allowed > 90_000 {
		t.Fatalf("%d of 100,000 random queries were allowed; the test says little", allowed)
	}
}

func show(rules []policy.Rule) string {
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "\n  %q %v:", r.Effect, r.Actions)
		for name, p := range map[string]policy.Values{"account": r.Match.Account, "type": r.Match.Type, "name": r.Match.Name, "ip": r.Match.IP} {
			if p != nil {
				fmt.Fprintf(&b, " %s %q", name, p)
			}
		}
		fmt.Fprintf(&b, " %q", r.Match.Labels)
	}
	return b.String()
}

// TestS57PlaceholdersAreLiteral pairs patterns with values made of the characters that patterns are made of: a match
// must be one of literal text.
func TestS57PlaceholdersAreLiteral(t *testing.T) {
	w := world{rand.New(rand.NewPCG(5, 7))}
	patterns := []string{
		"${account}", "${account}/*", "${account}/**", "x-${account}", "${labels:p}", "${labels:p}/*", "${labels:p}-${labels:g}/**",
		"/${account}/", "/^${account}$/", "/${account}_.*/", "/(?:${account}|never)/", "/${labels:p}/.+/", "/(?i)${labels:p}/", "/(${account})+/",
	}
	hostile := func() string {
		var b strings.Builder
		for range 1 + w.IntN(4) {
			b.WriteString(w.pick("*", "**", "?", "[", "]", "[a-z]", "^", "$", "\\", "\\E", "\\Q", ".", ".*", "|", "(", ")", "(?i)", "+", "{2}", "/", "a", "bob", "${account}", "${name}", "${labels:p}"))
		}
		return b.String()
	}
	compiled := map[string]*policy.Policy{}
	for _, s := range patterns {
		compiled[s] = compile(t, policy.Rule{Match: policy.Match{Name: policy.Values{s}}, Actions: []customhouse.Action{"*"}})
	}
	matches := 0
	for i := range 10_000 {
		pattern := patterns[i%len(patterns)]
		q := policy.Query{Type: "repository", Action: "pull", Identity: customhouse.Identity{
			Account: hostile(), Labels: map[string][]string{"p": {hostile(), hostile()}, "g": {hostile()}},
		}}
		// Half of the names are other people's, half are made of the value itself.
		if q.Name = w.pick("victim/x", "bob", "a", "bob/a", "aa", "x-a"); w.IntN(2) == 0 {
			q.Name = strings.Trim(pattern, "/^$")
			q.Name = strings.NewReplacer("${account}", q.Identity.Account, "${labels:p}", q.Identity.Labels["p"][1],
				"${labels:g}", q.Identity.Labels["g"][0], "**", "y/z", "_.*", "_y", ".+", "y", "*", "y").Replace(q.Name)
		}
		want := literally(pattern, q)
		if got := compiled[pattern].Decide(q).Allowed; got != want {
			t.Fatalf("pattern %q, name %q, %+v: matches = %v, want %v", pattern, q.Name, q.Identity, got, want)
		}
		if want {
			matches++
		}
	}
	if matches < 300 {
		t.Fatalf("only %d of 10,000 pairs match; the test says little", matches)
	}
}

// literally compares a pattern of TestS57PlaceholdersAreLiteral with plain string functions.
func literally(pattern string, q policy.Query) bool {
	under := func(s string, deep bool) bool {
		rest, ok := strings.CutPrefix(q.Name, s+"/")
		return ok && (deep || !strings.Contains(rest, "/"))
	}
	account, p, g := q.Identity.Account, q.Identity.Labels["p"], q.Identity.Labels["g"][0]
	switch pattern {
	case "${account}", "/${account}/", "/^${account}$/":
		return q.Name == account
	case "/(?:${account}|never)/":
		return q.Name == account || q.Name == "never"
	case "/(${account})+/":
		return strings.ReplaceAll(q.Name, account, "") == "" && q.Name != ""
	case "${account}/*":
		return under(account, false)
	case "${account}/**":
		return under(account, true)
	case "x-${account}":
		return q.Name == "x-"+account
	case "/${account}_.*/":
		return strings.HasPrefix(q.Name, account+"_")
	case "${labels:p}", "/(?i)${labels:p}/":
		return slices.Contains(p, q.Name)
	case "${labels:p}/*":
		return under(p[0], false) || under(p[1], false)
	case "/${labels:p}/.+/":
		return slices.ContainsFunc(p, func(v string) bool { return strings.HasPrefix(q.Name, v+"/") && len(q.Name) > len(v)+1 })
	case "${labels:p}-${labels:g}/**":
		return under(p[0]+"-"+g, true) || under(p[1]+"-"+g, true)
	}
	panic(pattern)
}

// FuzzPattern looks for patterns that compile and do not behave.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"a/*", "**", "[^a-z]?", `\*`, "${account}/**", "/${labels:p}.*/", "/[${account}]/", "/a)|(b/", "${labels:p}${labels:p}"} {
		f.Add(s, "a/b", "a")
	}
	f.Fuzz(func(t *testing.T, pattern, name, value string) {
		p, err := policy.Compile([]policy.Rule{{Match: policy.Match{Name: policy.Values{pattern}}, Actions: []customhouse.Action{"pull"}}}, policy.Options{})
		if err != nil {
			return
		}
		q := policy.Query{Name: name, Action: "pull", Identity: customhouse.Identity{
			Account: value, Labels: map[string][]string{"p": {value, "other"}},
		}}
		if first, again := p.Decide(q), p.Decide(q); first != again {
			t.Fatalf("Decide(%q, %q) = %v, then %v", pattern, name, first, again)
		}
		if trace := p.Explain(q); trace.Decision != p.Decide(q) {
			t.Fatalf("Explain(%q, %q) = %v, want %v", pattern, name, trace.Decision, p.Decide(q))
		}
		p.Lint()
		if !strings.ContainsAny(pattern, `*?[\$`) && !strings.HasPrefix(pattern, "/") && p.Decide(q).Allowed != (pattern == name) {
			t.Fatalf("the plain pattern %q and the name %q: %v", pattern, name, p.Decide(q))
		}
	})
}
