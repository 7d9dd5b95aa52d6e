// Command plugin-go is a plugin of Customhouse in Go. It does what ../plugin/plugin.c does: the account cicd has the password in
// the environment variable CICD_SECRET and the group CICD; the group may pull and push under ci/, others are not its concern.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o plugin.wasm ./examples/plugin-go
package main

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
)

// main answers one question by hand, where this is built for the machine itself. Customhouse does not call it.
func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		os.Exit(1)
	}
	os.Stdout.Write(append(reply(text), '\n'))
}

type asked struct {
	Type     string
	Account  string
	Password string
	Resource struct{ Type, Name string }
	Labels   map[string][]string
}

type said struct {
	Result  string              `json:"result"`
	Labels  map[string][]string `json:"labels,omitempty"`
	Actions []string            `json:"actions,omitempty"`
	Reason  string              `json:"reason,omitempty"`
}

func reply(text []byte) []byte {
	var q asked
	a := said{Result: "error", Reason: "the question cannot be read"}
	if json.Unmarshal(text, &q) == nil {
		a = decide(q)
	}
	b, _ := json.Marshal(a) // a can be written
	return b
}

func decide(q asked) said {
	switch {
	case q.Type == "authenticate" && q.Account == "cicd":
		if secret := os.Getenv("CICD_SECRET"); secret == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(q.Password)) == 0 {
			return said{Result: "deny", Reason: "wrong password"}
		}
		return said{Result: "allow", Labels: map[string][]string{"group": {"CICD"}}}
	case q.Type == "authorize" && q.Resource.Type == "repository" && strings.HasPrefix(q.Resource.Name, "ci/") && slices.Contains(q.Labels["group"], "CICD"):
		return said{Result: "allow", Actions: []string{"pull", "push"}, Reason: "the group CICD builds here"}
	}
	return said{Result: "no_match"}
}
