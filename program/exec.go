package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"customhouse"
)

// ExecOptions are the settings of an Exec.
type ExecOptions struct {
	Args             []string          // of the program; nothing of a question is ever among them
	Environment      map[string]string // of the program, besides ours
	CleanEnvironment bool              // take nothing of our environment but PATH and LANG
	Timeout          time.Duration     // of a question; 0 is DefaultTimeout
	Processes        int               // at once; 0 is 16
	AllowSpace       bool              // ask about account names with spaces
	Log              *slog.Logger      // told what programs complain of; nil is silent
}

// Defaults of an Exec.
const (
	defaultProcesses = 16
	waitingFor       = 16 // questions may wait for each process
)

// Exec starts a program for each question, with the protocol of cesanta/docker_auth's ext_auth and ext_authz.
type Exec struct {
	command command
	o       ExecOptions

	turns *turns
	life  context.Context // of the processes
	end   context.CancelFunc

	closing sync.Mutex     // held while alive grows or life ends
	alive   sync.WaitGroup // the processes
}

var _ Asker = (*Exec)(nil)

// NewExec returns an asker of the program called name, a path or a name in PATH, which has to be there.
func NewExec(name string, o ExecOptions) (*Exec, error) {
	c, err := newCommand(name, o.Args, o.CleanEnvironment, o.Environment)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Processes <= 0 {
		o.Processes = defaultProcesses
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Exec{command: c, o: o, turns: newTurns(o.Processes, waitingFor*o.Processes)}
	e.life, e.end = context.WithCancel(context.Background())
	return e, nil
}

// Close kills what runs.
func (e *Exec) Close() error {
	e.closing.Lock()
	e.end()
	e.closing.Unlock()
	e.alive.Wait()
	return nil
}

// begin tells whether a process may still start.
func (e *Exec) begin() bool {
	e.closing.Lock()
	defer e.closing.Unlock()
	if e.life.Err() != nil {
		return false
	}
	e.alive.Add(1)
	return true
}

// Ask implements Asker. An account or a password that a script would read as something else is denied before anything
// starts.
func (e *Exec) Ask(ctx context.Context, q Question) (Answer, error) {
	var stdin []byte
	switch q.Kind {
	case Authenticate:
		if why := unfit(q.Account, string(q.Password), e.o.AllowSpace); why != "" {
			return Answer{Result: Deny, Reason: why}, nil
		}
		stdin = append(append([]byte(q.Account), ' '), q.Password...)
	case Authorize:
		var err error
		if stdin, err = authzQuestion(&q); err != nil {
			return Answer{}, err
		}
	}
	stdout, code, err := e.run(ctx, stdin)
	if err != nil {
		return Answer{}, err
	}
	if q.Kind == Authenticate {
		return authnAnswer(code, stdout)
	}
	switch code {
	case 0:
		return Answer{Result: Allow, Actions: q.Actions}, nil
	case 1:
		return Answer{Result: Deny}, nil
	}
	return Answer{}, fmt.Errorf("bad return code from command: %d; 0 allows, 1 denies", code)
}

// unfit returns why a script must not be asked about an account and a password. A line "account password" is what it
// reads, and `read account password` takes white space and line ends for more than text: account "a b" is the account a,
// and a password of blanks is the empty one.
func unfit(account, password string, allowSpace bool) string {
	bad := func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) && !(r == ' ' && allowSpace)
	}
	blank := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\\' }
	first, _, _ := strings.Cut(password, "\n")
	switch {
	case account == "" || strings.ContainsFunc(account, bad) || strings.TrimSpace(account) != account:
		return "the account name is empty or has white space or control characters"
	case strings.TrimFunc(first, blank) == "":
		return "the password is empty or blank"
	}
	return ""
}

// authzQuestion returns the question of docker_auth's ext_authz, in which actions are sorted.
func authzQuestion(q *Question) ([]byte, error) {
	actions := words(q.Actions)
	slices.Sort(actions)
	return json.Marshal(struct {
		Account, Type, Name, Service, IP string
		Actions                          []customhouse.Action
		Labels                           map[string][]string
	}{q.Account, q.Type, q.Name, q.Service, addr(q.IP), actions, q.Labels})
}

// addr writes an address as JSON has it; "" is none.
func addr(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// authnAnswer reads the answer of docker_auth's ext_auth.
func authnAnswer(code int, stdout []byte) (Answer, error) {
	switch code {
	case 0:
	case 1:
		return Answer{Result: Deny}, nil
	case 2:
		return Answer{Result: NoMatch}, nil
	default:
		return Answer{}, fmt.Errorf("bad return code from command: %d; 0 allows, 1 denies, 2 is no match", code)
	}
	var said struct {
		Labels map[string][]string `json:"labels"`
	}
	if len(strings.TrimSpace(string(stdout))) > 0 {
		if err := json.Unmarshal(stdout, &said); err != nil {
			return Answer{}, errors.New("standard output is not a JSON object with labels") // err may quote what is secret
		}
	}
	return Answer{Result: Allow, Labels: said.Labels}, nil
}

// patience is how long a program may take before its output is read as it comes. Most end earlier, and then whoever asks
// is woken once.
const patience = 5 * time.Millisecond

// run starts the program, gives it input, and returns its standard output and exit code.
func (e *Exec) run(ctx context.Context, input []byte) ([]byte, int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.o.Timeout, ErrTimeout)
	defer cancel()
	if err := e.turns.wait(ctx); err != nil {
		return nil, 0, err
	}
	defer e.turns.done()
	if !e.begin() {
		return nil, 0, ErrClosed
	}
	defer e.alive.Done()
	p, rest, err := e.command.start(input)
	if err != nil {
		return nil, 0, err
	}
	defer p.close()
	for _, c := range []context.Context{ctx, e.life} {
		stop := context.AfterFunc(c, p.kill)
		defer stop()
	}
	if len(rest) == 0 {
		p.closeInput()
	}
	if len(rest) > 0 || !p.endsWithin(patience) {
		p.files()
	}
	var said complaint
	output, readErr, status, err := e.follow(p, rest, &said)
	if text := said.String(); text != "" {
		e.o.Log.Warn("a program complains", "command", e.command.path, "stderr", text)
	}
	switch {
	case ctx.Err() != nil:
		return nil, 0, context.Cause(ctx)
	case e.life.Err() != nil:
		return nil, 0, ErrClosed
	case err != nil:
		return nil, 0, err
	case readErr != nil:
		return nil, 0, readErr
	case status.Signaled():
		return nil, 0, fmt.Errorf("bad return code from command: -1 (%v)", status.Signal())
	}
	return output, status.ExitStatus(), nil
}

// follow waits for the end of p and returns its output. A program that has ended is not waited for by goroutines.
func (e *Exec) follow(p *process, rest []byte, said *complaint) (output []byte, readErr error, status syscall.WaitStatus, err error) {
	if !p.isOpen() {
		status, err = p.finish()
		var whole [2]bool
		output, whole[0] = drain(p.fds[stdout], maxAnswer+1)
		said.text, whole[1] = drain(p.fds[stderr], maxComplaint)
		if whole == [2]bool{true, true} {
			return output, tooLong(output), status, err
		}
		p.files() // others have the streams too, and may be about to end
	}
	var streams sync.WaitGroup
	streams.Go(func() {
		_, _ = p.open[stdin].Write(rest) // it may read as little as it likes
		p.closeInput()
	})
	streams.Go(func() { _, _ = io.Copy(said, p.open[stderr]) })
	streams.Go(func() { output, readErr = readAll(p, output) })
	if !p.isReaped() {
		status, err = p.wait()
	}
	p.lastWords()
	streams.Wait()
	return output, readErr, status, err
}

// readAll reads the program's standard output behind what is there, and kills a program that says too much.
func readAll(p *process, output []byte) ([]byte, error) {
	more, err := io.ReadAll(io.LimitReader(p.open[stdout], int64(maxAnswer+1-len(output))))
	output = append(output, more...)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errors.New("the program has ended and left its standard output open to another")
	case err != nil:
		return nil, err
	case tooLong(output) != nil:
		p.kill()
	}
	return output, tooLong(output)
}

func tooLong(output []byte) error {
	if len(output) > maxAnswer {
		return fmt.Errorf("standard output is longer than %d bytes", maxAnswer)
	}
	return nil
}
