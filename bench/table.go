package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// report is what a run has found.
type report struct {
	driver     *driver
	machine    string
	primitives []primitive
	cells      map[cellKey]cell
	startups   map[peerKey]startup
	failures   []string
}

type peerKey struct {
	peer   string
	tokens bool
}

type cellKey struct {
	scenario, peer string
	tokens         bool
}

// cell is the median of a scenario, or why there is none.
type cell struct {
	result
	err error
}

func newReport(d *driver) *report {
	return &report{driver: d, cells: map[cellKey]cell{}, startups: map[peerKey]startup{}}
}

func (r *report) fail(peer string, tokens bool, err error) {
	r.failures = append(r.failures, fmt.Sprintf("%s, %s: %v", peer, modeName(tokens), err))
}

// complete tells whether everything that was to be measured has been.
func (r *report) complete() bool {
	for _, c := range r.cells {
		if c.err != nil {
			return false
		}
	}
	return len(r.failures) == 0
}

func modeName(tokens bool) string {
	if tokens {
		return "tokens"
	}
	return "off"
}

// of returns what u counts in r.
func (u unit) of(r result) float64 {
	if u == megabytes {
		return r.megabytes()
	}
	return r.perSecond()
}

// cost writes the CPU time of the server for one unit of work.
func (u unit) cost(r result) string {
	switch {
	case r.cpu == 0 || r.ops == 0 && r.bytes == 0:
		return ""
	case u == megabytes:
		return fmt.Sprintf("%.2f s/GB", r.cpu.Seconds()/(float64(r.bytes)/1e9))
	}
	return number(float64(r.cpu.Microseconds())/float64(r.ops)) + " us"
}

// describe writes a cell for the log of a run.
func (c cell) describe(u unit) string {
	if c.err != nil {
		return c.err.Error()
	}
	return fmt.Sprintf("%s %s, CPU %s, peak %s MiB, others %.2f cores", number(u.of(c.result)), u, u.cost(c.result), mebibytes(c.peak), c.busy)
}

// figure writes a cell for the table: a number, marked if other programs were busy.
func (c cell) figure(u unit) string {
	switch {
	case c.err != nil:
		return "failed"
	case c.ops == 0 && c.bytes == 0:
		return "–"
	case c.busy > busyShare:
		return number(u.of(c.result)) + " \\*"
	}
	return number(u.of(c.result))
}

// number writes x with as many digits as it deserves and with commas.
func number(x float64) string {
	switch {
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	case x < 100:
		return fmt.Sprintf("%.1f", x)
	}
	s := fmt.Sprintf("%.0f", x)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func mebibytes(n int64) string { return number(float64(n) / (1 << 20)) }

// write prints the report as Markdown.
func (r *report) write(w io.Writer) {
	d := r.driver
	fmt.Fprintf(w, "%s. %s per measurement, median of %d.\n\n", r.machine, d.duration, d.rounds)
	r.writeScenarios(w)
	r.writeNotes(w)
	r.writeStartups(w)
	if len(r.primitives) > 0 {
		rows := [][]string{{"the machine itself", ""}}
		for _, p := range r.primitives {
			rows = append(rows, []string{p.name, number(p.value) + " " + p.unit})
		}
		writeTable(w, rows, 1)
	}
	for _, f := range r.failures {
		fmt.Fprintf(w, "FAILED: %s\n", f)
	}
}

func (r *report) writeScenarios(w io.Writer) {
	rows := [][]string{{
		"scenario", "clients", "auth", "Customhouse", "docker-registry", "ratio", "limit", "of limit",
		"CPU, Customhouse", "CPU, docker-registry", "peak MiB, Customhouse", "peak MiB, docker-registry",
	}}
	for _, s := range r.driver.scenarios {
		for _, tokens := range r.driver.modes {
			if s.tokens && !tokens {
				continue
			}
			ours, theirs := r.cells[cellKey{s.name, nameCustomhouse, tokens}], r.cells[cellKey{s.name, nameDocker, tokens}]
			limit := r.cells[cellKey{s.name, nameLimit, false}]
			title := r.driver.size.title(s.title)
			if !s.pinned {
				title += " (unpinned)"
			}
			rows = append(rows, []string{
				title + ", " + string(s.unit), fmt.Sprint(s.clients), modeName(tokens),
				ours.figure(s.unit), theirs.figure(s.unit), ratio(s.unit, ours, theirs, "%sx", 1),
				limit.figure(s.unit), ratio(s.unit, ours, limit, "%s %%", 100),
				s.unit.cost(ours.result), s.unit.cost(theirs.result), peak(ours), peak(theirs),
			})
		}
	}
	writeTable(w, rows, 3)
}

// ratio writes a/b, times scale, where both are known.
func ratio(u unit, a, b cell, format string, scale float64) string {
	x, y := u.of(a.result), u.of(b.result)
	if !(x > 0 && y > 0) { // of an empty cell it is NaN
		return ""
	}
	return fmt.Sprintf(format, number(scale*x/y))
}

func peak(c cell) string {
	if c.peak == 0 {
		return ""
	}
	return mebibytes(c.peak)
}

func (r *report) writeNotes(w io.Writer) {
	if len(r.driver.cores.server) > 0 {
		fmt.Fprintf(w, "The server has one core and the clients another, unless unpinned. CPU is that of the server, for one operation or for 10^9 bytes.\n")
	}
	busy := false
	for _, c := range r.cells {
		busy = busy || c.busy > busyShare
	}
	if busy {
		fmt.Fprintf(w, "\\* Other programs used more than %.0f %% of a core meanwhile.\n", 100*busyShare)
	}
	for _, s := range r.driver.scenarios {
		if s.note != "" {
			fmt.Fprintf(w, "%s.\n", s.note)
		}
		for _, p := range r.driver.peers {
			for _, tokens := range r.driver.modes {
				if c := r.cells[cellKey{s.name, p.name, tokens}]; c.err != nil {
					fmt.Fprintf(w, "%s, %s, %s: %v\n", s.name, p.name, modeName(tokens), c.err)
				}
			}
		}
	}
	fmt.Fprintln(w)
}

func (r *report) writeStartups(w io.Writer) {
	rows := [][]string{{"start", "auth", "empty: ready, ms", "filled: ready, ms", "idle, MiB", "filled in, s"}}
	milliseconds := func(d time.Duration) string { return number(d.Seconds() * 1000) }
	for _, p := range r.driver.peers {
		for _, tokens := range r.driver.modes {
			if up, ok := r.startups[peerKey{p.name, tokens}]; ok {
				rows = append(rows, []string{
					p.name, modeName(tokens), milliseconds(up.first), milliseconds(up.again), mebibytes(up.idle), number(up.fill.Seconds()),
				})
			}
		}
	}
	writeTable(w, rows, 2)
}

// title fills in the sizes.
func (s sizes) title(text string) string {
	return strings.NewReplacer(
		"%tags", number(float64(s.tags)), "%repos", number(float64(s.repos)), "%large", fmt.Sprintf("%d MiB", s.large>>20),
	).Replace(text)
}

// writeTable prints rows, the first of which is the head, as a Markdown table whose columns are aligned for the eye
// too; those after the first left ones are numbers. Columns without any entry, and tables without rows, are left out.
func writeTable(w io.Writer, rows [][]string, left int) {
	if len(rows) < 2 {
		return
	}
	width := make([]int, len(rows[0]))
	for i := range width {
		if !slices.ContainsFunc(rows[1:], func(row []string) bool { return strings.Trim(row[i], "–") != "" }) {
			width[i] = -1
			continue
		}
		for _, row := range rows {
			width[i] = max(width[i], len([]rune(row[i])), 3)
		}
	}
	for n, row := range rows {
		var line, rule strings.Builder
		for i, text := range row {
			if width[i] < 0 {
				continue
			}
			pad := strings.Repeat(" ", width[i]-len([]rune(text)))
			if i < left {
				line.WriteString("| " + text + pad + " ")
				rule.WriteString("|" + strings.Repeat("-", width[i]+2))
			} else {
				line.WriteString("| " + pad + text + " ")
				rule.WriteString("|" + strings.Repeat("-", width[i]+1) + ":")
			}
		}
		fmt.Fprintln(w, line.String()+"|")
		if n == 0 {
			fmt.Fprintln(w, rule.String()+"|")
		}
	}
	fmt.Fprintln(w)
}
