package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"customhouse/config"
	"customhouse/index"
)

// JSON is what json.Marshal says, but nothing in it controls a terminal.
func TestPrintJSON(t *testing.T) {
	hostile := "a<b>&\x1b[2J\u009b\u202e\U000e0001é漢"
	var out bytes.Buffer
	if err := printJSON(&out, []string{hostile}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "[\"a<b>&\\u001b[2J\\u009b\\u202e\\udb40\\udc01é漢\"]\n"; got != want {
		t.Errorf("printJSON = %q, want %q", got, want)
	}
	var back []string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back[0] != hostile {
		t.Errorf("read again it is %q, %v", back, err)
	}
}

// How a replication goes is told without the times that there are none of.
func TestListedReplication(t *testing.T) {
	never := time.UnixMilli(0)
	began := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		last index.Replication
		want string
	}{
		"never":    {index.Replication{Started: never, Finished: never, Asked: never}, `{"name":"base","direction":"pull","copied":0,"present":0,"deleted":0,"failed":0,"asked":false}`},
		"runs":     {index.Replication{Started: began, Finished: never, Asked: never, Copied: 2}, `{"name":"base","direction":"pull","started":"2026-05-01T12:00:00Z","copied":2,"present":0,"deleted":0,"failed":0,"next":"2026-05-01T13:00:00Z","asked":false}`},
		"is asked": {index.Replication{Started: began, Finished: began.Add(time.Minute), Asked: began.Add(time.Hour), Failed: 1, Error: "no"}, `{"name":"base","direction":"pull","started":"2026-05-01T12:00:00Z","finished":"2026-05-01T12:01:00Z","copied":0,"present":0,"deleted":0,"failed":1,"next":"2026-05-01T13:00:00Z","asked":true,"error":"no"}`},
	} {
		var out bytes.Buffer
		if err := printJSON(&out, listedReplicationOf(config.Replicate{Name: "base", Direction: "pull", Every: time.Hour}, c.last)); err != nil || out.String() != c.want+"\n" {
			t.Errorf("%s: %s, %v; want %s", what, &out, err, c.want)
		}
	}
}
