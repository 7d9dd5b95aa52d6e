package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// question is what a program is asked of which it has to know something to say yes. docs/programs.md has the protocol.
type question struct {
	ID uint64 `json:"id"`
}

type yes struct {
	ID     uint64 `json:"id,omitempty"`
	Result string `json:"result"`
}

// answerLines is a worker that says yes to everything.
func answerLines(in io.Reader, out io.Writer) error {
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	for dec := json.NewDecoder(in); ; {
		var q question
		if err := dec.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := errors.Join(enc.Encode(yes{q.ID, "allow"}), w.Flush()); err != nil {
			return err
		}
	}
}

// answerPosts serves a webhook that says yes to everything, until ctx ends.
func answerPosts(ctx context.Context, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return // the bench asks whether it is ready
		}
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"result":"allow"}`)
	})}
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
