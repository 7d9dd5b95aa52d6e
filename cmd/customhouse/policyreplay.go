package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/audit"
	"customhouse/config"
	"customhouse/index"
	"customhouse/policy"

	"github.com/spf13/cobra"
)

// recording is where decisions that were made are found: in files of the audit log, or in a data folder.
type recording struct {
	files []string
	data  string
	since string
}

func (r *recording) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&r.files, "audit", nil, "`FILE` of the audit log, with a line of JSON for each decision, in place of what the data folder keeps; - is the standard input; may be repeated")
	cmd.Flags().StringVar(&r.data, "data", "", "`FOLDER` that holds everything, in place of data in the configuration")
	cmd.Flags().StringVar(&r.since, "since", "", "only decisions since this `TIME`, such as 24h, 7d or 2026-12-31")
	cmd.MarkFlagDirname("data")
}

// begin returns since when decisions are wanted.
func (r *recording) begin(now time.Time) (time.Time, error) {
	if r.since == "" {
		return time.Time{}, nil
	}
	since, err := audit.ParseTime(r.since, now)
	if err != nil {
		return time.Time{}, fmt.Errorf("--since: %w", err)
	}
	return since, nil
}

// each calls do with the decisions that were recorded, in their order.
func (r *recording) each(cmd *cobra.Command, folder string, do func(customhouse.AuditEntry) error) (err error) {
	since, err := r.begin(time.Now())
	if err != nil {
		return err
	}
	for _, file := range r.files {
		in := cmd.InOrStdin()
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		for e, err := range readDecisions(file, in) {
			if err != nil {
				return err
			}
			if !e.Time.Before(since) {
				if err := do(e); err != nil {
					return err
				}
			}
		}
	}
	if len(r.files) > 0 {
		return nil
	}
	db, err := openRecording(cmd.Context(), cmp.Or(r.data, folder))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for e, err := range audit.NewReader(db).Find(cmd.Context(), audit.Question{Kind: customhouse.AuditDecision, Since: since}) {
		if warned(cmd.ErrOrStderr(), err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := do(e); err != nil {
			return err
		}
	}
	return nil
}

// openRecording opens the index of a data folder, or of the one that holds by default.
func openRecording(ctx context.Context, folder string) (*index.DB, error) {
	if folder == "" {
		var err error
		if folder, err = defaultData(os.Getenv); err != nil {
			return nil, err
		}
	}
	file := indexFile(folder)
	if _, err := os.Stat(file); err != nil {
		return nil, withHint(fmt.Errorf("no registry has been started in %s", folder), "name its folder with --data, or a file of its audit log with --audit")
	}
	return index.Open(ctx, file, index.Options{})
}

// readDecisions reads the decisions in a file of the audit log.
func readDecisions(name string, in io.Reader) iter.Seq2[customhouse.AuditEntry, error] {
	const longest = 1 << 20
	return func(yield func(customhouse.AuditEntry, error) bool) {
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, longest)
		for n := 1; lines.Scan(); n++ {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			var e customhouse.AuditEntry // whether its hash is right, is not asked: some may have been picked, or made
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Kind == "" {
				yield(e, fmt.Errorf("%s:%d: no line of the audit log", name, n))
				return
			}
			if e.Kind == customhouse.AuditDecision && !yield(e, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(customhouse.AuditEntry{}, fmt.Errorf("%s: %w", name, err))
		}
	}
}

// queryOf is what was asked when a decision was made. What the entry does not tell of the content was not known.
func queryOf(e *customhouse.AuditEntry, action customhouse.Action) policy.Query {
	client, _ := netip.ParseAddr(e.Client) // the zero Addr where it was not known
	q := policy.Query{
		Identity: customhouse.Identity{Account: e.Account, Method: e.Method, Labels: e.Labels, Claims: e.Claims},
		Client:   client, Service: e.Service, Type: e.Type, Name: e.Name, Action: action, Time: e.Time,
		Target: policy.Target{Tag: e.Tag, Digest: e.Digest, MediaType: e.MediaType, ArtifactType: e.ArtifactType},
	}
	for fact, value := range map[policy.Fact]string{
		policy.FactTag: e.Tag, policy.FactDigest: e.Digest, policy.FactMediaType: e.MediaType, policy.FactArtifactType: e.ArtifactType,
	} {
		if value != "" {
			q.Target.Known |= fact
		}
	}
	return q
}

// replay is what came of asking decisions anew.
type replay struct {
	Decisions int       `json:"decisions"`          // that were asked anew
	Same      int       `json:"same"`               // with the same answer
	Lost      []*change `json:"lost"`               // who may no more
	Gained    []*change `json:"gained"`             // who may now
	Unclear   int       `json:"unclear,omitempty"`  // the answer depends on what was not recorded
	Others    int       `json:"byOthers,omitempty"` // decisions that no rule has made, which are not asked anew

	changes map[string]*change
}

// change is one thing that some may no more, or may now.
type change struct {
	Action   customhouse.Action `json:"action"`
	Type     string             `json:"type"`
	Name     string             `json:"name"`
	Tags     []string           `json:"tags,omitempty"`
	Accounts []string           `json:"accounts"` // "" is anonymous
	Rules    []ruleChange       `json:"rules"`    // what decided, and what would
	Count    int                `json:"count"`    // decisions
	Examples []string           `json:"examples"` // ids of decisions, or places of questions

	gained         bool
	accounts, tags map[string]struct{}
}

// ruleChange is a rule that decided, and one that would.
type ruleChange struct {
	Was string `json:"was"` // such as "allow by customhouse.yml:3"
	Is  string `json:"is"`
}

// most is how many of several things are told.
const most = 5

func newReplay() *replay {
	return &replay{Lost: []*change{}, Gained: []*change{}, changes: map[string]*change{}}
}

// others tells whether a decision was not up to the rules, and counts it then; so it does what nobody knows any more of
// what strangers asked.
func (r *replay) others(e *customhouse.AuditEntry) bool {
	if e.By == customhouse.ByRules && e.Count == 0 {
		return false
	}
	r.Others += max(1, int(e.Count))
	return true
}

// note compares two answers to q; example names the decision, or the question.
func (r *replay) note(q policy.Query, was, is policy.Decision, example string) {
	r.Decisions++
	a, b := was.Answer(), is.Answer()
	switch {
	case a == b:
		r.Same++
		return
	case a == policy.Maybe || b == policy.Maybe || customhouse.PartlyKnown(q.Identity):
		r.Unclear++
		return
	}
	key := fmt.Sprintf("%v %s %s %s", is.Allowed, q.Action, q.Type, q.Name)
	c := r.changes[key]
	if c == nil {
		c = &change{
			Action: q.Action, Type: q.Type, Name: q.Name, gained: is.Allowed,
			accounts: map[string]struct{}{}, tags: map[string]struct{}{},
		}
		r.changes[key] = c
		if c.gained {
			r.Gained = append(r.Gained, c)
		} else {
			r.Lost = append(r.Lost, c)
		}
	}
	c.Count++
	c.accounts[q.Identity.Account] = struct{}{}
	if q.Target.Tag != "" {
		c.tags[q.Target.Tag] = struct{}{}
	}
	said := func(d policy.Decision) string { return d.Answer() + " by " + cmp.Or(d.Source, "no rule") }
	if one := (ruleChange{said(was), said(is)}); len(c.Rules) < most && !slices.Contains(c.Rules, one) {
		c.Rules = append(c.Rules, one)
	}
	if example != "" && len(c.Examples) < most {
		c.Examples = append(c.Examples, example)
	}
}

// end puts the changes in order: what most are concerned by comes first.
func (r *replay) end() {
	for _, all := range [][]*change{r.Lost, r.Gained} {
		for _, c := range all {
			c.Accounts, c.Tags = slices.Sorted(maps.Keys(c.accounts)), slices.Sorted(maps.Keys(c.tags))
		}
		slices.SortFunc(all, func(a, b *change) int {
			return cmp.Or(cmp.Compare(len(b.Accounts), len(a.Accounts)), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Action, b.Action))
		})
	}
}

// print writes r for people; thing is what was asked, such as decision.
func (r *replay) print(w io.Writer, thing string) error {
	var out strings.Builder
	line := func(format string, args ...any) { // whoever asked has chosen the names
		out.WriteString(printable(fmt.Sprintf(format, args...)))
		out.WriteByte('\n')
	}
	for _, c := range slices.Concat(r.Lost, r.Gained) {
		who, verb := count(len(c.Accounts), "account"), "lose"
		if len(c.Accounts) == 1 {
			who = cmp.Or(c.Accounts[0], "anonymous")
			verb = "loses"
		}
		if c.gained {
			verb = strings.Replace(verb, "lose", "gain", 1)
		}
		action := string(c.Action)
		if c.Action == customhouse.All {
			action = "everything"
		}
		about, whose, example := "", "", ""
		if len(c.Tags) > 0 {
			about = fmt.Sprintf(" (%s)", some(c.Tags))
		}
		if len(c.Accounts) > 1 {
			names := slices.Clone(c.Accounts)
			for i, name := range names {
				names[i] = cmp.Or(name, "anonymous")
			}
			whose = ": " + some(names)
		}
		line("%s %s %s on %s%s%s", who, verb, action, resource(c.Type, c.Name, ""), about, whose)
		for _, rule := range c.Rules {
			line("  was %s, is %s", rule.Was, rule.Is)
		}
		if len(c.Examples) > 0 {
			example = ", such as " + c.Examples[0]
		}
		line("  %s%s", count(c.Count, thing), example)
	}
	lost, gained := 0, 0
	for _, c := range r.Lost {
		lost += c.Count
	}
	for _, c := range r.Gained {
		gained += c.Count
	}
	fmt.Fprintf(&out, "%s: %d as before, %d lost, %d gained", count(r.Decisions, thing), r.Same, lost, gained)
	if r.Unclear > 0 {
		fmt.Fprintf(&out, ", %d unclear for want of what was not recorded", r.Unclear)
	}
	if r.Others > 0 {
		fmt.Fprintf(&out, "; %d more were not up to the rules", r.Others)
	}
	out.WriteByte('\n')
	_, err := io.WriteString(w, out.String())
	return err
}

// some lists names, no more of them than somebody reads.
func some(names []string) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// folderOf returns the data folder that a configuration names; "" if it names none.
func folderOf(c *config.Config, file string) string {
	if c.Data == "" || filepath.IsAbs(c.Data) {
		return c.Data
	}
	return filepath.Join(filepath.Dir(file), c.Data)
}
