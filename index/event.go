package index

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"customhouse"
)

// Recording is which events are kept for those who are to be told. The zero value keeps none.
type Recording struct {
	Actions    []string // of the events
	References bool     // with what manifests name
}

// Record makes the index keep these events from now on, each in the transaction of the change that it tells of.
func (db *DB) Record(r Recording) { db.recording.Store(&r) }

// record keeps an event, if somebody wants it.
func (db *DB) record(ctx context.Context, t *tx, e customhouse.Event) error {
	r := db.recording.Load()
	if r == nil || !slices.Contains(r.Actions, e.Action) || customhouse.IsUntold(ctx) {
		return nil
	}
	if !r.References {
		e.References = nil
	}
	e.Origin = customhouse.OriginOf(ctx)
	return db.putEvent(ctx, t, e)
}

func (db *DB) putEvent(ctx context.Context, t *tx, e customhouse.Event) error {
	e.ID = newID()
	if e.Time.IsZero() {
		e.Time = db.now()
	}
	e.Time = e.Time.UTC()
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return t.exec(ctx, "insert into event (body) values (?)", string(body))
}

// newID returns a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// AddEvents keeps events that no change brings, such as pulls. A loss of power may forget them.
func (db *DB) AddEvents(ctx context.Context, events []customhouse.Event) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		for _, e := range events {
			if err := db.putEvent(ctx, t, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Events returns up to n events after the one with a number, in their order.
func (db *DB) Events(ctx context.Context, after int64, n int) ([]customhouse.Event, error) {
	return db.events(ctx, "select number, body from event where number > ? order by number limit ?", after, n)
}

func (db *DB) events(ctx context.Context, query string, args ...any) (events []customhouse.Event, err error) {
	err = db.rows(ctx, func(r *sql.Rows) error {
		var e customhouse.Event
		var body string
		if err := r.Scan(&e.Number, &body); err != nil {
			return err
		}
		number := e.Number
		err := json.Unmarshal([]byte(body), &e)
		e.Number = number
		events = append(events, e)
		return err
	}, query, args...)
	return events, err
}

// Endpoint is somebody who is told of events.
type Endpoint struct {
	Name string
	Last int64 // the number of the last event that it was told of, or that it will not be
	Wait int64 // events after that
	Dead int64 // events that it did not take
}

// KeepEndpoints says who is told of events. A new one is told of what happens from now on; who is not named is forgotten,
// with what it did not take.
func (db *DB) KeepEndpoints(ctx context.Context, names []string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		var last int64
		if err := t.row(ctx, "select coalesce(max(seq), 0) from sqlite_sequence where name = 'event'").scan(&last); err != nil {
			return err
		}
		for _, name := range names {
			if err := t.exec(ctx, "insert into event_endpoint (name, last) values (?, ?) on conflict (name) do nothing", name, last); err != nil {
				return err
			}
		}
		named, err := json.Marshal(slices.Concat([]string{}, names))
		if err != nil {
			return err
		}
		const others = "not in (select value from json_each(?))"
		if err := t.exec(ctx, "delete from event_dead where endpoint "+others, string(named)); err != nil {
			return err
		}
		return t.exec(ctx, "delete from event_endpoint where name "+others, string(named))
	})
}

// Endpoints returns who is told of events, by name.
func (db *DB) Endpoints(ctx context.Context) (all []Endpoint, err error) {
	err = db.rows(ctx, func(r *sql.Rows) error {
		var e Endpoint
		err := r.Scan(&e.Name, &e.Last, &e.Wait, &e.Dead)
		all = append(all, e)
		return err
	}, `select name, last, (select count(*) from event where number > last),
		(select count(*) from event_dead where endpoint = name) from event_endpoint order by name`)
	return all, err
}

// Told says that an endpoint has been told of all events up to the one with a number.
func (db *DB) Told(ctx context.Context, endpoint string, last int64) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, "update event_endpoint set last = ? where name = ? and last < ?", last, endpoint, last)
	})
}

// DeadEvent is an event that an endpoint did not take.
type DeadEvent struct {
	customhouse.Event
	Endpoint string
	Reason   string
	Died     time.Time
	Again    bool // whether the endpoint is to be told again
}

// Bury lays aside an event that an endpoint does not take, and says that it has been told of all up to this one.
func (db *DB) Bury(ctx context.Context, endpoint string, e customhouse.Event, reason string) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return db.writer.write(ctx, true, func(t *tx) error {
		err := t.exec(ctx, `insert into event_dead (endpoint, number, body, reason, died) values (?, ?, ?, ?, ?)
			on conflict (endpoint, number) do update set reason = excluded.reason, died = excluded.died, again = 0`,
			endpoint, e.Number, string(body), reason, db.now().Unix())
		if err != nil {
			return err
		}
		return t.exec(ctx, "update event_endpoint set last = ? where name = ? and last < ?", e.Number, endpoint, e.Number)
	})
}

// DeadEvents returns what endpoints did not take, by endpoint and in the order of the events; of one endpoint, unless that
// is "".
func (db *DB) DeadEvents(ctx context.Context, endpoint string) (all []DeadEvent, err error) {
	err = db.rows(ctx, func(r *sql.Rows) error {
		var e DeadEvent
		var number, died int64
		var body string
		if err := r.Scan(&e.Endpoint, &number, &body, &e.Reason, &died, &e.Again); err != nil {
			return err
		}
		err := json.Unmarshal([]byte(body), &e.Event)
		e.Number, e.Died = number, time.Unix(died, 0)
		all = append(all, e)
		return err
	}, "select endpoint, number, body, reason, died, again from event_dead where endpoint = ? or ? = '' order by endpoint, number", endpoint, endpoint)
	return all, err
}

// Replay makes an endpoint be told again of what it did not take: of the events with these numbers, or of all of them. It
// returns how many they are. customhouse.ErrNotFound: one of them it did take, and nothing is changed.
func (db *DB) Replay(ctx context.Context, endpoint string, numbers []int64) (n int64, err error) {
	err = db.writer.write(ctx, true, func(t *tx) (err error) {
		if numbers == nil {
			n, err = t.changed(ctx, "update event_dead set again = 1 where endpoint = ?", endpoint)
			return err
		}
		for _, number := range numbers {
			err := found(t.changed(ctx, "update event_dead set again = 1 where endpoint = ? and number = ?", endpoint, number))
			if err != nil {
				return fmt.Errorf("event %d: %w", number, err)
			}
		}
		n = int64(len(numbers))
		return nil
	})
	return n, err
}

// Replays returns up to n events that an endpoint is to be told of again.
func (db *DB) Replays(ctx context.Context, endpoint string, n int) ([]customhouse.Event, error) {
	return db.events(ctx, "select number, body from event_dead where endpoint = ? and again = 1 order by number limit ?", endpoint, n)
}

// Unbury forgets an event that an endpoint has taken after all.
func (db *DB) Unbury(ctx context.Context, endpoint string, number int64) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, "delete from event_dead where endpoint = ? and number = ?", endpoint, number)
	})
}

// PruneEvents forgets the events that everybody has been told of and, if the rest takes more than so many bytes, the
// oldest of them, and returns how many of those nobody will be told of.
func (db *DB) PruneEvents(ctx context.Context, most int64) (lost int64, err error) {
	var bytes int64
	err = db.writer.write(ctx, false, func(t *tx) error {
		err := t.exec(ctx, "delete from event where number <= (select coalesce(min(last), 9223372036854775807) from event_endpoint)")
		if err != nil {
			return err
		}
		return t.row(ctx, "select coalesce(sum(length(body)), 0) from event").scan(&bytes)
	})
	if err != nil || bytes <= most {
		return 0, err
	}
	err = db.writer.write(ctx, true, func(t *tx) (err error) {
		lost, err = t.changed(ctx, `delete from event where number <= (select max(number) from
			(select number, sum(length(body)) over (order by number desc) as newer from event) where newer > ?)`, most)
		return err
	})
	return lost, err
}
