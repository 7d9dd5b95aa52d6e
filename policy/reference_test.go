package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"customhouse"
	"customhouse/policy"
)

// The reference answers like Decide by the words of the package comment, without any care for speed: it goes through all
// ways in which the rules that may match could do so.

// says is what a rule has to say about a query: whether its conditions hold, and whether its expression fails.
type says struct{ holds, fails string } // "no", "maybe" or "yes"

// way is one way of how an action is answered, and by which rule; -1 is none.
type way struct {
	answer string // "allow", "deny" or "pass"
	rule   int
}

var parts = map[customhouse.Action]list{
	"push": {"create", "mount", "tag", "referrer", "update"}, "create": {"create", "mount", "tag", "referrer"}, "pull": {"pull", "list"},
}

// lists tells whether a rule lists an action that has no parts.
func lists(r policy.Rule, a customhouse.Action) bool {
	denyAll := r.Effect == policy.Deny && len(r.Actions) == 0
	return denyAll || slices.ContainsFunc(r.Actions, func(b customhouse.Action) bool {
		aboutTags := r.Match.Tag != nil || strings.Contains(r.When, "target.tag")
		moves := b == "update" || b == "push"
		return a == b || b == "*" || slices.Contains(parts[b], a) || a == "delete" && r.Effect == policy.Deny && aboutTags && moves
	})
}

// ways returns the ways in which rules from one on answer an action; unlisted is the rule that has matched without
// listing it, or -1.
func ways(rules []policy.Rule, said []says, from int, a customhouse.Action, unlisted int) []way {
	if from == len(rules) {
		if unlisted >= 0 {
			return []way{{"deny", unlisted}}
		}
		return []way{{"pass", -1}}
	}
	r, s := rules[from], said[from]
	var all []way
	if r.Effect != policy.Deny && !r.Public && unlisted >= 0 {
		return ways(rules, said, from+1, a, unlisted)
	}
	denied := way{"deny", from}
	if unlisted >= 0 {
		denied.rule = unlisted
	}
	if s.fails != "no" {
		all = append(all, denied)
	}
	if s.fails == "yes" {
		return all
	}
	if s.holds != "yes" {
		all = append(all, ways(rules, said, from+1, a, unlisted)...)
	}
	if s.holds == "no" {
		return all
	}
	switch {
	case lists(r, a) && r.Effect == policy.Deny:
		return append(all, denied)
	case lists(r, a):
		return append(all, way{"allow", from})
	case r.Effect == policy.Deny || r.Public:
		return append(all, ways(rules, said, from+1, a, unlisted)...)
	}
	return append(all, ways(rules, said, from+1, a, from)...)
}

// reference decides q. The rule is that of the decision if nothing is unknown.
func reference(rules []policy.Rule, sets map[string]policy.Values, q policy.Query) policy.Decision {
	said := make([]says, len(rules))
	for i, r := range rules {
		said[i] = referenceSays(r, sets, q)
	}
	actions := list{q.Action}
	if q.Action == "push" {
		actions = parts["push"]
	}
	d := policy.Decision{Rule: -1}
	mayAllow, mayDeny, mayPass := false, true, false
	for _, a := range actions {
		all := ways(rules, said, 0, a, -1)
		may := func(answer string) bool {
			return slices.ContainsFunc(all, func(w way) bool { return w.answer == answer })
		}
		sure := may("allow") && !may("deny") && !may("pass")
		mayAllow, mayDeny, mayPass = mayAllow || may("allow"), mayDeny && may("deny"), mayPass || may("pass")
		switch last := all[len(all)-1].rule; {
		case sure && (!d.Allowed || last < d.Rule):
			d.Allowed, d.Rule = true, last
		case !d.Allowed && last > d.Rule:
			d.Rule = last
		}
	}
	switch {
	case d.Allowed:
	case mayAllow:
		d.Maybe, d.Open = true, mayPass && !mayDeny
	case mayPass && mayDeny:
		d.Open = true
	case mayPass:
		d.Rule = -1
	}
	return d
}

func referenceSays(r policy.Rule, sets map[string]policy.Values, q policy.Query) says {
	m := r.Match
	holds := "yes"
	is := func(known, ok bool) {
		switch {
		case holds == "no":
		case !known:
			holds = "maybe"
		case !ok:
			holds = "no"
		}
	}
	text := func(known bool, v policy.Values, value string, mayBeAbsent bool) {
		if v == nil {
			return
		}
		ok := slices.ContainsFunc(members(v, sets), func(p string) bool {
			if mayBeAbsent && (p == "" || value == "") {
				return p == value
			}
			return referencePattern(p, value, q)
		})
		if !known && holds != "no" {
			holds = "maybe"
		} else {
			is(known, ok)
		}
	}
	text(true, m.Account, q.Identity.Account, true)
	text(true, m.Method, q.Identity.Method, true)
	text(true, m.Type, q.Type, false)
	text(true, m.Name, q.Name, false)
	text(true, m.Service, q.Service, false)
	for key, v := range m.Labels {
		is(true, slices.ContainsFunc(q.Identity.Labels[key], func(value string) bool {
			return slices.ContainsFunc(members(v, sets), func(p string) bool { return referencePattern(p, value, q) })
		}))
	}
	for key, v := range m.Claims {
		is(true, slices.ContainsFunc(customhouse.ClaimValues(q.Identity.Claims, key), func(value string) bool {
			return slices.ContainsFunc(members(v, sets), func(p string) bool { return referencePattern(p, value, q) })
		}))
	}
	if m.IP != nil {
		is(true, slices.ContainsFunc(members(m.IP, sets), func(p string) bool { return netip.MustParsePrefix(p).Contains(q.Client) }))
	}
	if r.From != "" {
		from, _ := time.Parse(time.DateOnly, r.From)
		is(!q.Time.IsZero(), !q.Time.Before(from))
	}
	if r.Expires != "" {
		expires, _ := time.Parse(time.RFC3339, r.Expires)
		is(!q.Time.IsZero(), q.Time.Before(expires))
	}
	t := q.Target
	text(t.Known&policy.FactTag != 0, m.Tag, t.Tag, true)
	text(t.Known&policy.FactDigest != 0, m.Digest, t.Digest, true)
	text(t.Known&policy.FactMediaType != 0, m.MediaType, t.MediaType, true)
	text(t.Known&policy.FactArtifactType != 0, m.ArtifactType, t.ArtifactType, true)
	if holds == "no" || r.When == "" {
		return says{holds, "no"}
	}
	switch expressions[r.When](q) {
	case "no":
		return says{"no", "no"}
	case "fails":
		return says{"no", holds}
	case "unknown":
		return says{"maybe", "no"}
	case "unknown, may fail":
		return says{"maybe", "maybe"}
	}
	return says{holds, "no"}
}

// expressions are what rules say in CEL, and the same in Go.
var expressions = map[string]func(q policy.Query) string{
	`target.tag == "v1"`: func(q policy.Query) string {
		return known3(q.Target.Known&policy.FactTag != 0, q.Target.Tag == "v1")
	},
	`identity.labels.g[0] == "a"`: func(q policy.Query) string {
		if len(q.Identity.Labels["g"]) == 0 {
			return "fails"
		}
		return known3(true, q.Identity.Labels["g"][0] == "a")
	},
	`identity.account == "a" || target.tag.startsWith("v")`: func(q policy.Query) string {
		return known3(q.Identity.Account == "a" || q.Target.Known&policy.FactTag != 0, q.Identity.Account == "a" || strings.HasPrefix(q.Target.Tag, "v"))
	},
	`target.tag == identity.claims.ref`: func(q policy.Query) string {
		ref, ok := q.Identity.Claims["ref"].(string)
		switch {
		case q.Identity.Claims["ref"] == nil:
			return "fails" // whatever the tag is
		case q.Target.Known&policy.FactTag == 0:
			return "unknown, may fail"
		}
		return known3(true, ok && ref == q.Target.Tag)
	},
	`request.time >= timestamp("2026-06-01T00:00:00Z")`: func(q policy.Query) string {
		if q.Time.IsZero() {
			return "unknown, may fail"
		}
		return known3(true, !q.Time.Before(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)))
	},
	`target.name.startsWith("a") && !cidr("10.1.0.0/16").contains(request.ip)`: func(q policy.Query) string {
		return known3(true, strings.HasPrefix(q.Name, "a") && !netip.MustParsePrefix("10.1.0.0/16").Contains(q.Client))
	},
}

func known3(known, yes bool) string {
	switch {
	case !known:
		return "unknown"
	case yes:
		return "yes"
	}
	return "no"
}

// members returns values with the members of sets in the place of those.
func members(v policy.Values, sets map[string]policy.Values) policy.Values {
	var all policy.Values
	for _, s := range v {
		if name, ok := strings.CutPrefix(s, "@"); ok {
			all = append(all, members(sets[name], sets)...)
		} else {
			all = append(all, s)
		}
	}
	return all
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

// TestDecideAgreesWithReference compares 100,000 decisions of random policies with those of the reference, with those of
// Explain, and, where something is unknown, with what is decided once it is known.
func TestDecideAgreesWithReference(t *testing.T) {
	w := wide{world{rand.New(rand.NewPCG(1, 2))}}
	count := map[string]int{}
	for range 2_500 {
		rules := w.rules()
		p, err := policy.Compile(rules, policy.Options{Sets: wideSets})
		if err != nil {
			t.Fatalf("Compile = %v\nrules %s", err, show(rules))
		}
		for range 40 {
			q := w.query()
			got, want := p.Decide(q), reference(rules, wideSets, q)
			all := q.Target.Known == policy.Facts && !q.Time.IsZero()
			if got.Allowed != want.Allowed || got.Maybe != want.Maybe || got.Open != want.Open || all && got.Rule != want.Rule {
				t.Fatalf("Decide = %+v, want %+v\nrules %s\nquery %+v", got, want, show(rules), q)
			}
			if trace := p.Explain(q); trace.Decision != got {
				t.Fatalf("Explain = %+v, want %+v\nrules %s\nquery %+v", trace.Decision, got, show(rules), q)
			}
			switch {
			case got.Allowed:
				count["allowed"]++
			case got.Maybe:
				count["maybe"]++
			case strings.Contains(got.Reason, "cannot be decided"):
				count["failed"]++
			default:
				count["denied"]++
			}
			if all {
				continue
			}
			for range 3 {
				if full := p.Decide(w.complete(q)); full.Maybe || got.Allowed && !full.Allowed || !got.Allowed && !got.Maybe && full.Allowed {
					t.Fatalf("Decide = %+v, but then %+v\nrules %s\nquery %+v", got, full, show(rules), q)
				}
			}
		}
	}
	for what, least := range map[string]int{"allowed": 10_000, "denied": 10_000, "maybe": 2_500, "failed": 500} {
		if count[what] < least {
			t.Errorf("%d of 100,000 random queries were %s; the test says little", count[what], what)
		}
	}
}

func show(rules []policy.Rule) string {
	var b strings.Builder
	for i, r := range rules {
		fmt.Fprintf(&b, "\n  %d: %+v", i, r)
	}
	return b.String()
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
		p.Lint(time.Time{})
		if !strings.ContainsAny(pattern, `*?[\$`) && !strings.HasPrefix(pattern, "/") && p.Decide(q).Allowed != (pattern == name) {
			t.Fatalf("the plain pattern %q and the name %q: %v", pattern, name, p.Decide(q))
		}
	})
}
