package policy_test

import (
	"testing"

	"customhouse/policy"
)

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, value string
		want           bool
	}{
		{"refs/heads/main", "refs/heads/main", true}, {"refs/heads/main", "refs/heads/main2", false}, {"refs/heads/*", "refs/heads/a/b", false},
		{"refs/heads/**", "refs/heads/a/b", true}, {"/v[0-9]+/", "v12", true}, {"/v[0-9]+/", "xv12", false}, {"", "", true}, {"*", "a*b", true},
	} {
		p, err := policy.ParsePattern(tt.pattern)
		if err != nil {
			t.Fatalf("ParsePattern(%q) = %v", tt.pattern, err)
		}
		if got := p.Match(tt.value); got != tt.want || p.String() != tt.pattern {
			t.Errorf("%q.Match(%q) = %v, want %v", tt.pattern, tt.value, got, tt.want)
		}
	}
	for _, bad := range []string{"[", `\`, "/(/", "${account}", "/${labels:group}/", "\xff"} {
		if _, err := policy.ParsePattern(bad); err == nil {
			t.Errorf("ParsePattern(%q) = nil, want an error", bad)
		}
	}
	if (policy.Pattern{}).Match("a") {
		t.Error("the zero Pattern matches")
	}
}
