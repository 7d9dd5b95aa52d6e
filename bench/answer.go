package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// answerLines is a worker that says yes to everything, as small as one can be that reads what it is asked: of a question it
// needs the id. docs/programs.md has the protocol.
func answerLines(in io.Reader, out io.Writer) error {
	var answer []byte
	for lines := bufio.NewScanner(in); ; {
		if !lines.Scan() {
			return lines.Err()
		}
		_, rest, ok := bytes.Cut(lines.Bytes(), []byte(`"id":`))
		id := rest[:len(rest)-len(bytes.TrimLeft(rest, "0123456789"))]
		if !ok || len(id) == 0 {
			return errors.New("a question without an id")
		}
		answer = append(append(append(answer[:0], `{"id":`...), id...), ",\"result\":\"allow\"}\n"...)
		if _, err := out.Write(answer); err != nil {
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
