package index_test

import (
	"fmt"
	"testing"
	"time"

	"customhouse"

	"github.com/google/go-cmp/cmp"
)

func TestDifferences(t *testing.T) {
	ctx := t.Context()
	db := open(t)
	at := func(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC) }
	lost := customhouse.Difference{
		Account: "alice", Type: "repository", Name: "team/app", Tag: "v1", Action: customhouse.Update,
		Live: customhouse.AnswerAllow, LiveRule: "a.yml:2", Shadow: customhouse.AnswerDeny, ShadowRule: "b.yml:3", Count: 1, First: at(1), Last: at(2),
	}
	gained := customhouse.Difference{
		Type: "repository", Name: "team/app", Action: customhouse.Pull,
		Live: customhouse.AnswerDeny, Shadow: customhouse.AnswerAllow, ShadowRule: "b.yml:1", Count: 2, First: at(3), Last: at(4),
	}
	again := lost
	again.Count, again.First, again.Last = 5, at(5), at(6)
	for _, batch := range [][]customhouse.Difference{{lost, gained}, {again}, nil} {
		if left, err := db.AddDifferences(ctx, batch); left != 0 || err != nil {
			t.Fatalf("AddDifferences = %d, %v, want 0, nil", left, err)
		}
	}
	lost.Count, lost.Last = 6, at(6)
	got, err := db.Differences(ctx)
	if diff := cmp.Diff([]customhouse.Difference{lost, gained}, got); diff != "" || err != nil {
		t.Errorf("Differences differ, error %v (-want +got):\n%s", err, diff)
	}

	many := make([]customhouse.Difference, 10_001)
	for i := range many {
		many[i] = gained
		many[i].Name = fmt.Sprintf("team/app%d", i)
	}
	if left, err := db.AddDifferences(ctx, append(many, lost)); left != 3 || err != nil {
		t.Errorf("AddDifferences of too many = %d, %v, want 3 left out", left, err)
	}
	if err := db.ForgetDifferences(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Differences(ctx); len(got) != 0 || err != nil {
		t.Errorf("Differences = %d, %v after they were forgotten", len(got), err)
	}
}
