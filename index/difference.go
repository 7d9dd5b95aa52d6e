package index

import (
	"context"
	"database/sql"
	"time"

	"customhouse"
)

// maxDifferences is how many kinds of differences are kept.
const maxDifferences = 10_000

// AddDifferences adds to the counts of differences. It returns how many kinds it has left out because there are too many. A
// loss of power may take the counts back.
func (db *DB) AddDifferences(ctx context.Context, differences []customhouse.Difference) (left int, err error) {
	err = db.writer.write(ctx, false, func(t *tx) error {
		left = 0
		room := -1 // not counted yet
		for _, d := range differences {
			n, err := t.changed(ctx, `update difference set count = count + ?, last = ? where account = ? and type = ? and name = ? and tag = ?
				and action = ? and live = ? and live_rule = ? and shadow = ? and shadow_rule = ?`, d.Count, d.Last.UnixNano(),
				d.Account, d.Type, d.Name, d.Tag, string(d.Action), d.Live, d.LiveRule, d.Shadow, d.ShadowRule)
			if err != nil {
				return err
			}
			if n > 0 {
				continue
			}
			if room < 0 {
				var there int
				if err := t.row(ctx, "select count(*) from difference").scan(&there); err != nil {
					return err
				}
				room = maxDifferences - there
			}
			if room <= 0 {
				left++
				continue
			}
			room--
			if err := t.exec(ctx, `insert into difference (account, type, name, tag, action, live, live_rule, shadow, shadow_rule, count, first, last)
				values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, d.Account, d.Type, d.Name, d.Tag, string(d.Action),
				d.Live, d.LiveRule, d.Shadow, d.ShadowRule, d.Count, d.First.UnixNano(), d.Last.UnixNano()); err != nil {
				return err
			}
		}
		return nil
	})
	return left, err
}

// Differences returns the differences that are kept, the most frequent first.
func (db *DB) Differences(ctx context.Context) (all []customhouse.Difference, err error) {
	err = db.rows(ctx, func(r *sql.Rows) error {
		var d customhouse.Difference
		var first, last int64
		err := r.Scan(&d.Account, &d.Type, &d.Name, &d.Tag, &d.Action, &d.Live, &d.LiveRule, &d.Shadow, &d.ShadowRule, &d.Count, &first, &last)
		d.First, d.Last = time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
		all = append(all, d)
		return err
	}, `select account, type, name, tag, action, live, live_rule, shadow, shadow_rule, count, first, last from difference
		order by count desc, account, type, name, tag, action, live_rule, shadow_rule`)
	return all, err
}

// ForgetDifferences forgets all of them.
func (db *DB) ForgetDifferences(ctx context.Context) error {
	return db.writer.write(ctx, true, func(t *tx) error { return t.exec(ctx, "delete from difference") })
}
