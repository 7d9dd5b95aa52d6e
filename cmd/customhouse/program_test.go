package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"customhouse/program"
	"customhouse/server"
)

// dumb is a program that answers nothing.
type dumb struct{ program.Asker }

func (dumb) Ask(ctx context.Context, _ program.Question) (program.Answer, error) {
	return program.Answer{}, errors.Join(ctx.Err(), program.ErrTimeout)
}

// A question that a program did not answer is counted, unless whoever asked has left.
func TestProgramFailuresAreCounted(t *testing.T) {
	m := server.NewMetrics("test")
	asker := counted{dumb{}, "exec", m}
	left, leave := context.WithCancel(t.Context())
	leave()
	for _, ctx := range []context.Context{t.Context(), left, t.Context()} {
		if _, err := asker.Ask(ctx, program.Question{}); err == nil {
			t.Fatal("Ask = nil, want an error")
		}
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), "customhouse_program_failures_total{program=\"exec\"} 2\n") {
		t.Errorf("metrics = %s, want two failures of exec", w.Body)
	}
}
