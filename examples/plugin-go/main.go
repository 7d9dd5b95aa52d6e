//go:build wasip1

// Command plugin-go is a plugin of Customhouse in Go. It does what ../plugin/plugin.c does: the account cicd has the password in
// the environment variable CICD_SECRET and the group CICD; the group may pull and push under ci/, others are not its concern.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o plugin.wasm ./examples/plugin-go
package main

import (
	"crypto/subtle"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"unsafe"
)

// main is not called: the module is a library.
func main() {}

// The memory that is handed out has to stay where it is until the next question.
var question, answer []byte

//go:wasmexport customhouse_abi
func abi() int32 { return 1 }

//go:wasmexport customhouse_alloc
func alloc(size uint32) uint32 {
	question = make([]byte, size+1) // never without an address
	return address(question)
}

//go:wasmexport customhouse_ask
func ask(_, size uint32) uint64 {
	answer = reply(question[:size])
	return uint64(address(answer))<<32 | uint64(len(answer))
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

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
