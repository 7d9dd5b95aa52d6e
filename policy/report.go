package policy

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"customhouse"
)

// Answers, as files and programs say them.
const Maybe = "maybe" // beside Allow and Deny: it depends on what is not known

// Answer returns Allow, Deny or Maybe.
func (d Decision) Answer() string {
	switch {
	case d.Allowed:
		return Allow
	case d.Maybe:
		return Maybe
	}
	return Deny
}

// Report is a Trace for people and programs. Its JSON form is what they get who ask for one.
type Report struct {
	Answer  string `json:"answer"`            // Allow, Deny or Maybe
	Reason  string `json:"reason,omitempty"`  // absent for whoever may not know it
	Rule    string `json:"rule,omitempty"`    // where the rule stands that decided, or that it depends on
	Comment string `json:"comment,omitempty"` // of that rule
	Message string `json:"message,omitempty"` // what whoever is denied is told

	Account      string             `json:"account"` // "" is anonymous
	Action       customhouse.Action `json:"action"`
	Type         string             `json:"type"`
	Name         string             `json:"name"`
	Tag          *string            `json:"tag,omitempty"` // "" is none; absent is unknown, as with what follows
	Digest       *string            `json:"digest,omitempty"`
	MediaType    *string            `json:"mediaType,omitempty"`
	ArtifactType *string            `json:"artifactType,omitempty"`
	Time         *time.Time         `json:"time,omitempty"`

	Rules []RuleReport `json:"rules,omitempty"` // what they had to say, in their order
	More  int          `json:"more,omitempty"`
}

// RuleReport is what one rule had to say.
type RuleReport struct {
	Rule    string            `json:"rule"` // where it stands
	Lists   string            `json:"lists"`
	Outcome string            `json:"outcome"`
	Helps   bool              `json:"helps,omitempty"` // it would allow what was asked if the conditions that follow held
	Unmet   []ConditionReport `json:"unmet,omitempty"`
	Text    string            `json:"text"`
}

// ConditionReport is a condition that does not hold, or of which that is not known.
type ConditionReport struct {
	Field   string   `json:"field"`
	Want    Values   `json:"want"`
	Got     []string `json:"got,omitempty"`
	Unknown bool     `json:"unknown,omitempty"`
}

// nearest is how many rules that come near are reported.
const nearest = 5

// Report tells what t says about the answer to q: with all, what each rule had to say, and otherwise what those said that
// match, or may, and those that come nearest to a yes. Where something else than the rules decided, t.Decision is what it did.
func (t Trace) Report(q Query, all bool) Report {
	r := Report{
		Answer: t.Decision.Answer(), Reason: t.Decision.Reason, Rule: t.Decision.Source, Message: t.Decision.Message,
		Account: q.Identity.Account, Action: q.Action, Type: q.Type, Name: q.Name,
	}
	for fact, field := range map[Fact]struct {
		to    **string
		value *string
	}{
		FactTag: {&r.Tag, &q.Target.Tag}, FactDigest: {&r.Digest, &q.Target.Digest},
		FactMediaType: {&r.MediaType, &q.Target.MediaType}, FactArtifactType: {&r.ArtifactType, &q.Target.ArtifactType},
	} {
		if q.Target.Known&fact != 0 {
			*field.to = field.value
		}
	}
	if !q.Time.IsZero() {
		r.Time = &q.Time
	}
	if i := t.Decision.Rule; i >= 0 && i < len(t.rules) && t.rules[i].Source == t.Decision.Source {
		r.Comment = t.rules[i].Comment
	}
	steps := t.Steps
	if !all {
		near := t.Nearest()
		r.More = max(0, len(near)-nearest)
		steps = slices.Concat(t.Matched(), near[:len(near)-r.More])
		slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.Rule, b.Rule) })
		steps = slices.CompactFunc(steps, func(a, b Step) bool { return a.Rule == b.Rule })
	}
	for _, s := range steps {
		one := RuleReport{
			Rule: place(s.Rule, s.Source), Lists: t.rules[s.Rule].lists(), Outcome: s.Outcome.String(), Text: s.String(),
			Helps: s.Helps && !t.Decision.Allowed && s.Outcome == NoMatch,
		}
		for _, c := range s.Unmet {
			one.Unmet = append(one.Unmet, ConditionReport{c.Field, c.Want, c.Got, c.Unknown})
		}
		switch {
		case one.Helps:
			one.Text = "would allow it, but " + one.Text
		case s.Outcome == Depends:
			one.Text = "may match: " + one.Text
		case r.Answer == Maybe:
			one.Text = strings.Replace(one.Text, "decides:", "otherwise", 1)
		}
		r.Rules = append(r.Rules, one)
	}
	return r
}

// String is a word for o.
func (o Outcome) String() string {
	return [...]string{
		NoMatch: "no match", Passes: "passes", Silent: "silent", Narrows: "narrows", Allows: "allows", Unlisted: "unlisted",
		Denies: "denies", Blocks: "blocks", Depends: "depends", Fails: "fails", NotAsked: "not asked",
	}[o]
}

// WriteText writes r for people.
func (r Report) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, r.verdict())
	fmt.Fprintln(w, r.Reason)
	if r.Comment != "" {
		fmt.Fprintln(w, "comment:", r.Comment)
	}
	if r.Message != "" && r.Answer == Deny {
		fmt.Fprintln(w, "message:", r.Message)
	}
	if len(r.Rules) > 0 {
		fmt.Fprintln(w)
	}
	for _, s := range r.Rules {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Rule, s.Lists, s.Text)
	}
	if r.More == 1 {
		fmt.Fprintln(w, "and 1 more rule comes as near; --all shows every rule")
	} else if r.More > 0 {
		fmt.Fprintf(w, "and %d more rules come as near; --all shows every rule\n", r.More)
	}
	return w.Flush()
}

// verdict reads the answer aloud.
func (r Report) verdict() string {
	answer, may := "denied", "may not"
	switch r.Answer {
	case Allow:
		answer, may = "allowed", "may"
	case Maybe:
		answer, may = "maybe", "may perhaps"
	}
	action := string(r.Action)
	if r.Action == customhouse.All {
		action = "do everything"
	}
	name := r.Name
	if r.Tag != nil && *r.Tag != "" {
		name += ":" + *r.Tag
	}
	return fmt.Sprintf("%s: %s %s %s: %s %s", answer, cmp.Or(r.Account, "anonymous"), may, action, r.Type, name)
}

// lists returns effect and actions of r, such as "allow pull, push".
func (r Rule) lists() string {
	actions := make([]string, len(r.Actions))
	for i, a := range r.Actions {
		actions[i] = string(a)
	}
	effect := cmp.Or(r.Effect, Allow)
	if r.Public {
		effect = "public " + effect
	}
	switch {
	case len(actions) > 0:
		return effect + " " + strings.Join(actions, ", ")
	case r.Effect == Deny:
		return "deny *"
	}
	return effect + " nothing"
}
