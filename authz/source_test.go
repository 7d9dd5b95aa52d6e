package authz_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse/authz"
	"customhouse/policy"
)

func TestParseEntry(t *testing.T) {
	for text, want := range map[string]policy.Rule{
		`{"Match":{"account":"bob","name":"bob/*"},"Actions":["*"],"Comment":"his own"}`: {
			Match: policy.Match{Account: policy.Values{"bob"}, Name: policy.Values{"bob/*"}}, Actions: list{"*"}, Comment: "his own"},
		`{"match":{"TYPE":"t","Service":"s","ip":"10.0.0.0/8","labels":{"g":"a"}},"actions":["pull"]}`: {
			Match: policy.Match{Type: policy.Values{"t"}, Service: policy.Values{"s"}, IP: policy.Values{"10.0.0.0/8"}, Labels: map[string]policy.Values{"g": {"a"}}}, Actions: list{"pull"}},
		`{"Match":{"account":null,"name":""},"Actions":[],"Comment":null}`: {Match: policy.Match{Name: policy.Values{""}}, Actions: list{}},
		`{"Match":{},"Actions":["pull","frob"]}`:                           {Actions: list{"pull", "frob"}},
	} {
		got, err := authz.ParseEntry([]byte(text))
		if err != nil {
			t.Errorf("ParseEntry(%s) = %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ParseEntry(%s) (-want +got):\n%s", text, diff)
		}
	}
	for text, want := range map[string]string{
		`{}`:                                    "without match and actions",
		`{"Actions":["*"]}`:                     "without match and actions",
		`{"Match":{}}`:                          "without match and actions",
		`{"Match":null,"Actions":["*"]}`:        "without match and actions",
		`{"Match":{},"Actions":null}`:           "without match and actions",
		`{"Match":{"acount":"a"},"Actions":[]}`: `unknown key "acount"`,
		`{"Match":{"account":"a","Account":"b"},"Actions":[]}`: "stands twice",
		`{"Match":{"account":1},"Actions":[]}`:                 "match.account: want text",
		`{"Match":{"labels":{"a":["b"]}},"Actions":[]}`:        "match.labels",
		`{"Match":{},"Actions":"pull"}`:                        "actions: want a list",
		`{"Match":{},"Actions":[]} x`:                          "something follows",
		`{"Match":{},"Actions":[]`:                             "not JSON",
		`[]`:                                                   "want a JSON object", ``: "want a JSON object", `null`: "want a JSON object", `{"Match":`: "not JSON",
		`{"Match":{},"Actions":["` + strings.Repeat("x", 70_000) + `"]}`: "more than",
	} {
		if _, err := authz.ParseEntry([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseEntry(%.80s) = %v, want %s", text, err, want)
		}
	}
}
