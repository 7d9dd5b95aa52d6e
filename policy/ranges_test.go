package policy_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/policy"
)

func TestRanges(t *testing.T) {
	bob := customhouse.Identity{Account: "bob", Labels: map[string][]string{"team": {"web", "api"}}}
	named := func(actions list, names ...string) policy.Rule {
		return policy.Rule{Match: policy.Match{Name: names}, Actions: actions}
	}
	deny := named(nil, "a/secret/**")
	deny.Effect = policy.Deny
	for name, tt := range map[string]struct {
		rules []policy.Rule
		want  string
	}{
		"nothing":             {nil, ""},
		"everything":          {[]policy.Rule{{Actions: list{"pull"}}}, "[,) sure"},
		"what is below":       {[]policy.Rule{named(list{"pull"}, "a/**", "b")}, `[a/,a0) sure [b,b\x00) sure`},
		"some of it":          {[]policy.Rule{named(list{"pull"}, "a/*")}, "[a/,a0) ask"},
		"but for":             {[]policy.Rule{deny, named(list{"pull"}, "a/**")}, "[a/,a/secret/) sure [a/secret0,a0) sure"},
		"his own":             {[]policy.Rule{named(list{"pull"}, "${account}/**", "${labels:team}/**")}, "[api/,api0) sure [bob/,bob0) sure [web/,web0) sure"},
		"first match wins":    {[]policy.Rule{named(list{}, "a/b/**"), named(list{"pull"}, "a/**")}, "[a/,a/b/) sure [a/b0,a0) sure"},
		"public all the same": {[]policy.Rule{named(list{}, "a/b/**"), {Match: policy.Match{Name: policy.Values{"a/**"}}, Actions: list{"pull"}, Public: true}}, "[a/,a0) sure"},
		"on the tag":          {[]policy.Rule{{Match: policy.Match{Name: policy.Values{"a/**"}, Tag: policy.Values{"v*"}}, Actions: list{"pull"}}}, "[a/,a0) ask"},
		"an expression":       {[]policy.Rule{{Match: policy.Match{Name: policy.Values{"/a/.+/", "b/**"}}, Actions: list{"pull"}}}, "[a/,a0) ask [b/,b0) sure"},
		"in CEL":              {[]policy.Rule{when(`target.name.startsWith("a")`, "pull")}, "[,) ask"},
		"somebody else's":     {[]policy.Rule{{Match: policy.Match{Account: policy.Values{"eve"}}, Actions: list{"pull"}}}, ""},
	} {
		got := ""
		for _, r := range compile(t, tt.rules...).Ranges(policy.Query{Identity: bob, Type: "repository", Action: "list"}) {
			kind := "ask"
			if r.Sure {
				kind = "sure"
			}
			first, end := fmt.Sprintf("%q", r.First), fmt.Sprintf("%q", r.End)
			got += fmt.Sprintf(" [%s,%s) %s", first[1:len(first)-1], end[1:len(end)-1], kind)
		}
		if got != "" {
			got = got[1:]
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Ranges are taken at their word over random policies: outside of them nothing is allowed, in a sure one everything is.
func TestRangesAreSound(t *testing.T) {
	w := wide{world{rand.New(rand.NewPCG(8, 8))}}
	count := map[string]int{}
	for range 1_500 {
		rules := w.rules()
		p, err := policy.Compile(rules, policy.Options{Sets: wideSets})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			q := w.query()
			ranges := p.Ranges(q)
			for i, r := range ranges {
				if r.End != "" && r.First >= r.End || i > 0 && (ranges[i-1].End == "" || ranges[i-1].End > r.First) {
					t.Fatalf("Ranges = %+v, which are not in order\nrules %s", ranges, show(rules))
				}
			}
			for range 10 {
				q.Name = w.pick(w.text(), w.text(), w.pick("a", "b", "")+w.text(), w.text()+"/"+w.text())
				where := "outside"
				for _, r := range ranges {
					if q.Name >= r.First && (r.End == "" || q.Name < r.End) {
						if where = "ask"; r.Sure {
							where = "sure"
						}
					}
				}
				count[where]++
				d := p.Decide(q)
				if where == "outside" && (d.Allowed || d.Maybe) || where == "sure" && !d.Allowed {
					t.Fatalf("Decide = %+v, %s of %+v\nrules %s\nquery %+v", d, where, ranges, show(rules), q)
				}
			}
		}
	}
	for _, where := range []string{"outside", "ask", "sure"} {
		if count[where] < 3_000 {
			t.Errorf("%d names were %s; the test says little", count[where], where)
		}
	}
}

func BenchmarkRanges(b *testing.B) {
	for _, kind := range []string{"names", "labels"} {
		b.Run(kind, func(b *testing.B) {
			rules, o := tiedRules(kind, 10_000)
			p, err := policy.Compile(rules, o)
			if err != nil {
				b.Fatal(err)
			}
			q := benchQuery(1)
			q.Target, q.Time = policy.Target{}, time.Time{}
			for b.Loop() {
				if len(p.Ranges(q)) == 0 {
					b.Fatal("Ranges = none")
				}
			}
		})
	}
}
