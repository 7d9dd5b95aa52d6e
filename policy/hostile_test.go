package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/policy"
)

// TestS57_PlaceholdersAreLiteral matches 10,000 pairs of patterns and values full of special characters: a value is
// itself in a pattern and nothing else.
func TestS57_PlaceholdersAreLiteral(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	pieces := []string{"*", "**", "?", "[a-z]", "[^x]", `\`, "/", ".*", ".", "(", ")", "|", "+", "{2}", "^", "$", "${account}", "${labels:p}", "@set", `\E`, `\Q`, "(?i)", "a", "b", "é", "\x00"}
	text := func() string {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		return b.String()
	}
	compiled := map[string]*policy.Policy{}
	for i := range 10_000 {
		form := []string{"%s", "%s/*", "x-%s", "/%s/", "/%s-.*/", "%s/**/y"}[i%6]
		fact := []string{"${account}", "${labels:p}", "${service}", "${type}"}[r.IntN(4)]
		pattern := fmt.Sprintf(form, fact)
		if compiled[pattern] == nil {
			compiled[pattern] = compile(t, policy.Rule{Match: policy.Match{Name: policy.Values{pattern}}, Actions: list{"pull"}})
		}
		value := text()
		q := policy.Query{Action: "pull", Service: value, Type: value, Identity: customhouse.Identity{Account: value, Labels: map[string][]string{"p": {value}}}}
		if q.Name = text(); r.IntN(2) == 0 { // what is the value, or nearly
			q.Name = strings.NewReplacer("/", "", "%s", value, ".*", "b", "**", "b/c", "*", "b").Replace(form)
			if !strings.HasPrefix(form, "/") {
				q.Name = strings.NewReplacer("%s", value, "**", "b/c", "*", "b").Replace(form)
			}
		}
		literal := regexp.QuoteMeta(value)
		want := regexp.MustCompile(`\A(?s:` + map[string]string{
			"%s": literal, "%s/*": literal + "/[^/]*", "x-%s": "x-" + literal, "/%s/": literal, "/%s-.*/": literal + "-(?-s:.*)", "%s/**/y": literal + "/.*/y",
		}[form] + `)\z`).MatchString(q.Name)
		if got := compiled[pattern].Decide(q).Allowed; got != want {
			t.Fatalf("%q with %q matches %q: %v, want %v", pattern, value, q.Name, got, want)
		}
	}
}

// bigLabels is an identity with fifty values of each of three labels.
func bigLabels() customhouse.Identity {
	id := customhouse.Identity{Account: "bob", Labels: map[string][]string{}}
	for _, key := range []string{"a", "b", "c"} {
		for i := range 50 {
			id.Labels[key] = append(id.Labels[key], fmt.Sprintf("%s%d", key, i))
		}
	}
	return id
}

// dearRules are 1,000 rules whose patterns are dear to match, and match nothing.
func dearRules() []policy.Rule {
	dear := []string{"**${labels:a}**${labels:b}**${labels:c}**z", "${labels:a}${labels:a}${labels:b}${labels:c}", "/(a|aa)+${labels:b}(b|bb)+${labels:c}/", "*a*a*a*a*a*a*b", "/(x+x+)+y/"}
	rules := make([]policy.Rule, 1000)
	for i := range rules {
		rules[i] = policy.Rule{Match: policy.Match{Name: policy.Values{dear[i%len(dear)]}, Service: policy.Values{fmt.Sprintf("**%d", i)}}, Actions: list{"pull"}}
	}
	return rules
}

// TestS59_Labels has a thousand dear patterns, and labels with 50 x 50 x 50 combinations of values.
func TestS59_Labels(t *testing.T) {
	p := compile(t, append(dearRules(), policy.Rule{Match: policy.Match{Name: policy.Values{"${labels:a}/${labels:b}/${labels:c}"}}, Actions: list{"pull"}})...)
	q := policy.Query{Identity: bigLabels(), Name: "a49/b49/c49", Service: "r1", Action: "pull"}
	if d := p.Decide(q); !d.Allowed {
		t.Errorf("Decide = %+v, want allowed", d)
	}
	q.Name = "a49/b49/c50"
	if d := p.Decide(q); d.Allowed {
		t.Errorf("Decide = %+v, want denied", d)
	}
}

func BenchmarkS59(b *testing.B) {
	p := compile(b, dearRules()...)
	q := policy.Query{Identity: bigLabels(), Name: strings.Repeat("xa", 100), Service: "r1", Action: "pull"}
	for b.Loop() {
		p.Decide(q)
	}
}

// hostileWhen is an expression that is made to cost much, or to fail.
func hostileWhen(r *rand.Rand, depth int) string {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	text := func() string {
		return pick("identity.account", "target.name", "target.tag", `"aaaaaaaaaaaaaaaa"`, "identity.claims.big", "identity.labels.a[r]", `identity.claims["no"]`, "request.ip")
	}
	if depth == 0 {
		return pick(text()+` == `+text(), text()+`.matches("(a+)+$")`, text()+`.matches("(x{1,30}){1,30}")`, text()+`.startsWith(`+text()+`)`, `1 / size(`+text()+`) > 0`, `int(`+text()+`) > 1`, `[1,2,3][9] == 1`,
			`request.time.getHours("No/Where") > 1`, `duration("999999999h") > duration("1s")`, `cidr(`+text()+`).contains(`+text()+`)`, `timestamp(`+text()+`) > request.time`, `9223372036854775807 + size(`+text()+`) > 0`)
	}
	inner := hostileWhen(r, depth-1)
	return pick(
		fmt.Sprintf(`identity.claims.many.all(v%d, %s)`, depth, inner),
		fmt.Sprintf(`identity.claims.many.map(v%d, string(v%d) + %s).exists(w%d, w%d != "" && (%s))`, depth, depth, text(), depth, depth, inner),
		fmt.Sprintf(`identity.labels.all(k%d, identity.labels[k%d].all(v%d, %s))`, depth, depth, depth, inner),
		fmt.Sprintf(`(%s + %s + %s + %s).matches(".*a.*b.*c.*d.*") || (%s)`, text(), text(), text(), text(), inner),
		fmt.Sprintf(`!(%s) && (%s)`, inner, inner),
		fmt.Sprintf(`(%s) ? (%s) : (%s)`, inner, inner, inner),
		strings.Repeat("(", 40)+inner+strings.Repeat(")", 40),
		strings.Repeat("!", 60)+"("+inner+")",
		fmt.Sprintf(`identity.claims.many.exists_one(v%d, %s) && [[1,2],[3]].all(x, x.all(y, %s))`, depth, inner, inner),
	)
}

// hostileQuery has large facts.
func hostileQuery() policy.Query {
	q := known()
	many := make([]any, 1000)
	for i := range many {
		many[i] = json.Number(fmt.Sprint(i))
	}
	q.Identity.Claims["many"], q.Identity.Claims["big"] = many, strings.Repeat("a", 60_000)
	for key, values := range bigLabels().Labels {
		q.Identity.Labels[key] = values
	}
	return q
}

// TestS91_HostileExpressions has 1,000 expressions that are made to cost much or to fail. Each is refused when it is
// read, or comes to an end within its cost; one that fails denies.
func TestS91_HostileExpressions(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	q := hostileQuery()
	count := map[string]int{}
	for range 1_000 {
		text := hostileWhen(r, r.IntN(5))
		p, err := policy.Compile([]policy.Rule{{When: text, Effect: policy.Deny}, {Actions: list{"*"}}}, policy.Options{})
		var mistakes policy.Errors
		if err != nil {
			if !errors.As(err, &mistakes) || mistakes[0].Field != "when" {
				t.Fatalf("Compile(%s) = %v, want Errors", text, err)
			}
			count["refused"]++
			continue
		}
		d := p.Decide(q)
		switch failed := strings.Contains(d.Reason, "cannot be decided"); {
		case failed && (d.Allowed || d.Maybe):
			t.Fatalf("%s fails and allows: %+v", text, d)
		case strings.Contains(d.Reason, "cost"):
			count["too dear"]++
		case failed:
			count["failed"]++
		default:
			count["decided"]++
		}
		if again := p.Decide(q); again != d {
			t.Fatalf("%s: %+v, then %+v", text, d, again)
		}
	}
	for what, least := range map[string]int{"refused": 100, "failed": 100, "decided": 20, "too dear": 1} {
		if count[what] < least {
			t.Errorf("%d expressions were %s: %v; the test says little", count[what], what, count)
		}
	}
}

// BenchmarkS91 is the dearest that an expression may be.
func BenchmarkS91(b *testing.B) {
	q := hostileQuery()
	for name, text := range map[string]string{
		"lists in lists": `identity.claims.many.all(a, identity.claims.many.all(b, a != b || a == b))`,
		"text":           `identity.claims.many.all(a, (string(a) + identity.claims.big).matches("(a|aa)*b") || true)`,
	} {
		b.Run(name, func(b *testing.B) {
			p, err := policy.Compile([]policy.Rule{when(text, "pull")}, policy.Options{})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				p.Decide(q)
			}
		})
	}
}

// FuzzRule looks for rules that compile and do not behave: that panic, or that are answered in two ways.
func FuzzRule(f *testing.F) {
	f.Add(`target.tag.startsWith("v")`, "@set", "refs/*", "2026-01-01", "10.0.0.0/8", uint8(1))
	f.Add(`identity.labels.a.exists(g, g in identity.claims)`, "a*", "", "2026-01-01T00:00:00Z", "::1", uint8(15))
	f.Add(`cidr("10.0.0.0/8").contains(request.ip) && request.time.getHours() > 3`, "", "${account}", "", "", uint8(0))
	f.Fuzz(func(t *testing.T, text, account, value, expires, ip string, known uint8) {
		r := policy.Rule{When: text, Expires: expires, Actions: list{"pull", "push"}}
		r.Match.Account, r.Match.Tag, r.Match.Claims = policy.Values{account}, policy.Values{value, "v1"}, map[string]policy.Values{"ref": {value, account}}
		if ip != "" {
			r.Match.IP = policy.Values{ip}
		}
		p, err := policy.Compile([]policy.Rule{r, {Actions: list{"*"}, When: text}}, policy.Options{Sets: map[string]policy.Values{"set": {value, account}}})
		if err != nil {
			return
		}
		q := hostileQuery()
		q.Target.Known = policy.Fact(known) & policy.Facts
		d, c := p.Decide(q), policy.NewCache(p, 2)
		if trace, cached := p.Explain(q), c.Decide(q); trace.Decision != d || cached != d || c.Decide(q) != d {
			t.Fatalf("Decide = %+v, Explain = %+v, cached %+v", d, trace.Decision, cached)
		}
		p.Lint(time.Time{})
		p.Ranges(q)
	})
}
