package policy_test

import (
	"strings"
	"testing"

	"customhouse"
	"customhouse/policy"
)

// Expressions that are short to write and long to match are refused before they are compiled, alone and in sum.
func TestS83_RegexBombs(t *testing.T) {
	rule := func(name string) policy.Rule {
		return policy.Rule{Match: policy.Match{Name: policy.Values{name}}, Actions: []customhouse.Action{customhouse.All}}
	}
	for _, bomb := range []string{"/a{999}a{999}/", "/" + strings.Repeat("a{999}", 500) + "/", "/${account}b{500}c{600}/"} {
		if _, err := policy.Compile([]policy.Rule{rule(bomb)}, policy.Options{}); err == nil || !strings.Contains(err.Error(), "expands to more than") {
			t.Errorf("Compile(%.30s) = %v, want that it expands too much", bomb, err)
		}
	}
	many := make([]policy.Rule, 2000)
	for i := range many {
		many[i] = rule("/x{900}y/")
	}
	if _, err := policy.Compile(many, policy.Options{}); err == nil || !strings.Contains(err.Error(), "up to here") {
		t.Errorf("Compile(2,000 large expressions) = %v, want that they expand too much", err)
	}
	for _, fine := range []string{"/team-[a-z]{1,20}/.+/", `/[^/]+/v[0-9]+(\.[0-9]+){0,2}/`, `/(\pL|\pN){1,1}/`} {
		if _, err := policy.Compile([]policy.Rule{rule(fine)}, policy.Options{}); err != nil {
			t.Errorf("Compile(%s) = %v, want nil", fine, err)
		}
	}
}
