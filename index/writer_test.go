package index_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/index"
)

const addName = "insert into account (name, password, labels, created) values (?, '', '{}', 0)"

// names returns which of the accounts n0 to n(count-1) are there.
func names(t *testing.T, db *index.DB, count int) []bool {
	t.Helper()
	there := make([]bool, count)
	for i := range there {
		_, err := db.Account(t.Context(), fmt.Sprint("n", i))
		if err != nil && !errors.Is(err, customhouse.ErrNotFound) {
			t.Fatal(err)
		}
		there[i] = err == nil
	}
	return there
}

// hold makes the writer busy until release is called, so that what is written meanwhile shares a transaction.
func hold(t *testing.T, db *index.DB) (release func()) {
	t.Helper()
	busy, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Write(context.Background(), true, func(index.Tx) error {
			close(busy)
			<-free
			return nil
		})
	}()
	<-busy
	return sync.OnceFunc(func() {
		close(free)
		if err := <-done; err != nil {
			t.Errorf("Write = %v", err)
		}
	})
}

// Writes that share a transaction stand and fall alone, panics too.
func TestWriterIsolatesErrors(t *testing.T) {
	db := open(t)
	broken := errors.New("broken")
	const count = 100
	if err := db.Write(t.Context(), true, func(x index.Tx) error { return x.Exec(addName, "taken") }); err != nil {
		t.Fatal(err)
	}
	release := hold(t, db)
	results := make([]error, count)
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			results[i] = db.Write(context.Background(), i%2 == 0, func(x index.Tx) error {
				if err := x.Exec(addName, fmt.Sprint("n", i)); err != nil {
					return err
				}
				switch i % 5 {
				case 1:
					return broken
				case 2:
					panic("at the disco")
				case 3:
					return x.Exec(addName, "taken") // violates the primary key
				}
				return nil
			})
		})
	}
	waitQueued(t, db, count)
	release()
	wg.Wait()
	there := names(t, db, count)
	for i, err := range results {
		var ok bool
		switch i % 5 {
		case 1:
			ok = errors.Is(err, broken)
		case 2:
			ok = err != nil && strings.Contains(err.Error(), "at the disco")
		case 3:
			ok = err != nil && strings.Contains(err.Error(), "constraint")
		default:
			ok = err == nil
		}
		if want := i%5 == 0 || i%5 == 4; !ok || there[i] != want {
			t.Errorf("write %d = %v, there = %v; want there = %v", i, err, there[i], want)
		}
	}
}

// waitQueued waits until n writes wait.
func waitQueued(t *testing.T, db *index.DB, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); db.Queued() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("writes that wait = %d, want %d", db.Queued(), n)
		}
	}
}

// A write waits for the disk unless it says that it need not; with one that must, all that share the transaction do.
func TestWriterDurable(t *testing.T) {
	db := open(t)
	const normal, full = 1, 2 // https://sqlite.org/pragma.html#pragma_synchronous
	mode := func(durable bool) (mode int) {
		err := db.Write(context.Background(), durable, func(x index.Tx) (err error) {
			mode, err = x.Int("pragma synchronous")
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return mode
	}
	for _, durable := range []bool{true, false, false, true} {
		want := normal
		if durable {
			want = full
		}
		if got := mode(durable); got != want {
			t.Errorf("synchronous of a write with durable = %v is %d, want %d", durable, got, want)
		}
	}
	release := hold(t, db)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if got := mode(i == 7); got != full {
				t.Errorf("synchronous beside a durable write = %d, want %d", got, full)
			}
		})
	}
	waitQueued(t, db, 10)
	release()
	wg.Wait()
	if err := db.Write(t.Context(), true, func(x index.Tx) error {
		on, err := x.Int("pragma foreign_keys")
		if err == nil && on != 1 {
			err = errors.New("foreign_keys is off")
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// What was acknowledged before or while the index is closed is there when it is opened again; nothing waits forever.
func TestWriterCloseWhileBusy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "index.db")
	db, err := index.Open(t.Context(), file, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const count = 400
	results := make([]error, count)
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			time.Sleep(time.Duration(i%40) * 200 * time.Microsecond)
			results[i] = db.Write(context.Background(), i%2 == 0, func(x index.Tx) error { return x.Exec(addName, fmt.Sprint("n", i)) })
		})
	}
	time.Sleep(3 * time.Millisecond)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := db.Write(t.Context(), true, func(index.Tx) error { return nil }); err == nil {
		t.Error("Write to a closed index = nil, want an error")
	}
	again, err := index.Open(t.Context(), file, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	acked := 0
	for i, there := range names(t, again, count) {
		if results[i] == nil {
			acked++
		}
		if results[i] == nil && !there {
			t.Errorf("write %d was acknowledged and is lost", i)
		}
	}
	t.Logf("%d of %d writes were acknowledged", acked, count)
}

// A write that has begun happens, whatever becomes of its context; one whose context has ended does not begin.
func TestWriterContext(t *testing.T) {
	db := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Write(ctx, true, func(x index.Tx) error {
		cancel()
		return x.Exec(addName, "n0")
	})
	if err != nil {
		t.Errorf("Write = %v, want nil", err)
	}
	if err := db.Write(ctx, true, func(x index.Tx) error { return x.Exec(addName, "n1") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v, want context.Canceled", err)
	}
	if there := names(t, db, 2); !there[0] || there[1] {
		t.Errorf("there = %v, want the first only", there)
	}
}

// Where the database undoes a whole transaction by itself, as it does when the disk is full, writes that were part of it
// hear so, and those behind are neither lost nor reported as failed.
func TestWriterUndoneTransaction(t *testing.T) {
	db := open(t)
	full := errors.New("full")
	jobs := []func(index.Tx) error{
		func(x index.Tx) error { return x.Exec(addName, "n0") },
		func(x index.Tx) error { return errors.Join(x.Exec("rollback"), full) }, // what SQLite does with SQLITE_FULL
		func(x index.Tx) error { return x.Exec(addName, "n2") },
		func(x index.Tx) error { return x.Exec(addName, "n3") },
	}
	release := hold(t, db)
	results := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, do := range jobs {
		wg.Go(func() { results[i] = db.Write(context.Background(), true, do) })
		for db.Queued() != i+1 {
			time.Sleep(time.Millisecond)
		}
	}
	release()
	wg.Wait()
	if !errors.Is(results[0], full) || !errors.Is(results[1], full) || results[2] != nil || results[3] != nil {
		t.Errorf("Write = %v, want that the first two failed", results)
	}
	if got := names(t, db, 4); got[0] || got[1] || !got[2] || !got[3] {
		t.Errorf("accounts = %v, want those of the last two", got)
	}
}
