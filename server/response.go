package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"customhouse"
	"customhouse/gate"
)

// Deadlines go by progress, not by total time: a slow link works, a stalled one does not hold a connection.
const (
	stall      = 30 * time.Second // without enough progress
	minRate    = 1 << 10          // bytes per second
	firstChunk = 1 << 20          // bytes between two looks at the clock when writing; more to a client that takes them fast
	mostChunk  = 16 << 20
	fast       = time.Second
	readChunk  = int64(stall/time.Second) * minRate
)

// response is the one http.ResponseWriter of a request. It lets files through to sendfile, keeps the deadline and
// remembers what the access line tells.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	head    bool // answer HEAD: the body is not sent

	sendfile bool // HTTP/1: the kernel sends, and ends connections that stall

	op      operation // what was asked for; opNone outside of /v2/
	quiet   bool      // not worth a line
	broken  bool      // the answer could not be ended
	status  int
	bytes   int64
	err     error // what went wrong, for the log
	id      string
	account string
	rule    string
	reason  string
	pending *gate.Pending // what is to be accounted for; nil for nothing, and when it has been
}

// decision remembers what the gate has said, and tells the client by which id it can be found.
func (w *response) decision(id string, who customhouse.Identity, rule, reason string) {
	w.id, w.account, w.rule, w.reason = id, who.Account, rule, reason
	w.Header()["X-Request-Id"] = []string{id}
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sends the status line. It is final: an error after it breaks the connection.
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	w.settle()
	w.extend(firstChunk)
	w.ResponseWriter.WriteHeader(status)
}

// settle accounts for what is answered.
func (w *response) settle() {
	if w.pending == nil {
		return
	}
	var digest, mediaType string
	if d := w.Header()["Docker-Content-Digest"]; len(d) > 0 {
		digest = d[0]
		if t := w.Header()["Content-Type"]; len(t) > 0 {
			mediaType = t[0]
		}
	}
	w.pending.Settle(context.Background(), digest, mediaType, w.status, w.err) // the client may have gone meanwhile
	w.pending = nil
}

// extend gives the client time for one more chunk.
func (w *response) extend(chunk int64) {
	_ = w.control.SetWriteDeadline(time.Now().Add(stall + time.Duration(chunk/minRate)*time.Second)) // HTTP/1 and HTTP/2 have deadlines; a test's recorder has none
}

// Write sends bytes that are small.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.head {
		return len(p), nil
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// copyFrom sends n bytes of src, after WriteHeader, chunk by chunk. Where src is a file they go out by sendfile.
func (w *response) copyFrom(src io.Reader, n int64) error {
	for chunk := int64(firstChunk); ; w.extend(chunk) {
		start := time.Now()
		sent, err := io.CopyN(w.ResponseWriter, src, min(n, chunk))
		w.bytes += sent
		if n -= sent; n == 0 || err != nil {
			return err
		}
		if w.sendfile && time.Since(start) < fast {
			chunk = min(2*chunk, mostChunk)
		}
	}
}

// progressBody is a request's body that must come at minRate.
type progressBody struct {
	io.ReadCloser
	control *http.ResponseController
	since   int64 // bytes since the deadline was set
}

// watchBody returns the request with a body that is watched, and sets the first deadline, which also bounds how long the
// server waits for the rest of a body that no handler wants. It is a copy: by the type of the body in the original,
// net/http decides whether to answer before that rest has come.
func watchBody(w *response, r *http.Request) *http.Request {
	b := &progressBody{ReadCloser: r.Body, control: w.control}
	b.extend()
	r = r.WithContext(r.Context())
	r.Body = b
	return r
}

func (b *progressBody) extend() {
	b.since = 0
	_ = b.control.SetReadDeadline(time.Now().Add(stall))
}

func (b *progressBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch b.since += int64(n); {
	case err == io.EOF: // nothing more is waited for but the answer, which may take its time
		_ = b.control.SetReadDeadline(time.Time{})
	case b.since >= readChunk:
		b.extend()
	}
	return n, err
}
