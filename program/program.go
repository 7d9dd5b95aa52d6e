// Package program asks a program of yours who somebody is and what they may do. There are four kinds: Exec starts one for
// each question, with the protocol of cesanta/docker_auth; Worker keeps some running and asks them by lines of JSON;
// Webhook posts the same JSON to a URL; Plugin calls a WebAssembly module in a sandbox. A Cache stands before any of them.
//
//	script, err := program.NewExec("check.sh", program.ExecOptions{Log: log})
//	asker := program.NewCache(script, program.CacheOptions{Allowed: time.Minute})
//	answer, err := asker.Ask(ctx, program.Question{Kind: program.Authenticate, Account: "alice", Password: "secret"})
//
// Whatever a program does wrong, hangs, dies, prints garbage or a gigabyte, is an error and never an answer: an outage,
// in which nobody is let in. The package knows nothing of rules, tokens and the serving of HTTP. docs/programs.md is the
// protocol for those who write programs.
package program

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"customhouse"
)

// Errors of all askers. Every error is an outage.
var (
	// ErrBusy says that as many questions wait as may.
	ErrBusy = errors.New("too many questions wait for the program")
	// ErrTimeout says that the program did not answer in time.
	ErrTimeout = errors.New("the program did not answer in time")
	// ErrClosed says that the asker has been closed.
	ErrClosed = errors.New("the program is no longer asked")
)

// DefaultTimeout is how long a question may take, waiting for its turn included, where no other time is configured.
const DefaultTimeout = 10 * time.Second

// maxAnswer is how many bytes a program may say.
const maxAnswer = 1 << 20

// Asker asks a program.
type Asker interface {
	// Ask returns the program's answer. The errors are ErrBusy, ErrTimeout, ErrClosed, the context's and those of an
	// outage; none of them quotes a password.
	Ask(context.Context, Question) (Answer, error)
	// Close ends what the asker has started and returns when it has ended. Questions under way fail.
	Close() error
}

// Kind is what a question is about.
type Kind string

// The kinds of a question.
const (
	Authenticate Kind = "authenticate" // is this the password of the account?
	Authorize    Kind = "authorize"    // which of the actions may the account do?
)

// Question is what a program is asked.
type Question struct {
	Kind    Kind
	Account string     // "" is anonymous, which only Authorize asks about
	IP      netip.Addr // of the client; the zero Addr is unknown
	Service string     // the audience of the token; "" is unknown

	Password customhouse.Secret // Authenticate

	Type    string               // Authorize: such as repository
	Name    string               // Authorize: such as team/app
	Actions []customhouse.Action // Authorize: what is asked for
	Labels  map[string][]string  // Authorize: facts about the account
}

// Result is the kernel of an answer.
type Result string

// The results.
const (
	Allow   Result = "allow"    // the password is right; the actions may be done
	Deny    Result = "deny"     // the password is wrong; none of the actions may be done
	NoMatch Result = "no_match" // not for this program to say; ask the next
)

// Answer is what a program answers.
type Answer struct {
	Result  Result
	Labels  map[string][]string  // Authenticate, Allow: facts about the account
	Actions []customhouse.Action // Authorize, Allow: those that may be done
	Reason  string               // for the log; may be empty
	Message string               // Authorize: for the account, where something is denied; may be empty
}

// words returns the actions in the words that clients use: a part of push is push.
func words(actions []customhouse.Action) []customhouse.Action {
	said := make([]customhouse.Action, 0, len(actions))
	for _, a := range actions {
		if a = a.Whole(); !slices.Contains(said, a) {
			said = append(said, a)
		}
	}
	return said
}

// of returns those of asked that are among granted; what is granted is granted with its parts.
func of(asked, granted []customhouse.Action) []customhouse.Action {
	var both []customhouse.Action
	for _, a := range asked {
		if slices.Contains(granted, a) || slices.Contains(granted, a.Whole()) {
			both = append(both, a)
		}
	}
	return both
}

// appendKey appends bytes that no other question has.
func (q *Question) appendKey(b []byte) []byte {
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(string(q.Kind))
	text(q.Account)
	text(q.IP.String())
	text(q.Service)
	text(string(q.Password))
	text(q.Type)
	text(q.Name)
	b = binary.AppendUvarint(b, uint64(len(q.Actions)))
	for _, a := range q.Actions {
		text(string(a))
	}
	b = binary.AppendUvarint(b, uint64(len(q.Labels)))
	for _, key := range sortedKeys(q.Labels) {
		text(key)
		b = binary.AppendUvarint(b, uint64(len(q.Labels[key])))
		for _, value := range q.Labels[key] {
			text(value)
		}
	}
	return b
}
