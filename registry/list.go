package registry

import (
	"context"

	"customhouse"
)

// Visible is which repositories a list shows. The zero Visible is all of them.
type Visible struct {
	Ranges []customhouse.Range         // outside of which nothing is visible, in their order, none overlapping; nil is all names
	Ask    func(customhouse.Repo) bool // tells of a name in a range that is not sure; nil accepts it
}

// Repositories returns, in byte order, up to n repositories after the given one that hold a manifest and are visible, and
// tells whether there are more. What is read follows what is visible: names between ranges are skipped over.
func (r *Registry) Repositories(ctx context.Context, after string, n int, v Visible) (names []string, more bool, err error) {
	const least, most = 64, 1024
	names = []string{}
	ranges := v.Ranges
	if ranges == nil {
		ranges = []customhouse.Range{{}}
	}
	next := after + "\x00" // the least name that is wanted
	for size := min(n+1, most); ; {
		for len(ranges) > 0 && ranges[0].End != "" && ranges[0].End <= next {
			ranges = ranges[1:]
		}
		if len(ranges) == 0 {
			return names, false, nil
		}
		if next < ranges[0].First {
			next, size = ranges[0].First, min(size, least)
		}
		batch, err := r.index.Repos(ctx, next, size)
		if err != nil {
			return names, false, err
		}
		for _, name := range batch {
			for len(ranges) > 0 && ranges[0].End != "" && ranges[0].End <= name {
				ranges = ranges[1:]
			}
			if len(ranges) == 0 {
				return names, false, nil
			}
			if name < ranges[0].First || !ranges[0].Sure && !v.accepts(name) {
				continue
			}
			if len(names) == n {
				return names, true, nil
			}
			names = append(names, name)
		}
		if len(batch) < size {
			return names, false, nil
		}
		next = batch[len(batch)-1] + "\x00"
		size = min(2*size, most) // the more is hidden, the more is read at once
	}
}

func (v *Visible) accepts(name string) bool {
	if v.Ask == nil {
		return true
	}
	repo, err := customhouse.ParseRepo(name)
	return err == nil && v.Ask(repo)
}
