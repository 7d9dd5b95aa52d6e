package gate

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"customhouse"
	"customhouse/policy"
)

// Denials is what an account hears of why it is denied something. The log has all of it, and whoever has no account
// hears nothing.
type Denials int

// The ways to tell of a denial.
const (
	TellReason  Denials = iota // the message of the rule, or else what would have been needed, as far as others are no part of it
	TellMessage                // the message of the rule, if it has one
	TellID                     // the id of the decision alone
)

// nearer is an Authorizer that tells which rules came nearest to allowing a query that it has denied.
type nearer interface {
	Nearest(q policy.Query) []policy.Step
}

// denied refuses where no other credential of the same account could help.
func (g *Gate) denied(grant *Grant, need *Need, action customhouse.Action, d *policy.Decision) *Refusal {
	refusal := &Refusal{ID: grant.ID, Identity: grant.Identity, Ground: grant.Ground}
	if g.denials == TellID {
		refusal.Err = customhouse.Errorf(customhouse.Denied, "denied (decision %s)", grant.ID)
		return refusal
	}
	why := ""
	if d != nil && !need.Veiled && !grant.Identity.Anonymous() {
		why = g.why(grant, need, action, d)
	}
	err := customhouse.Errorf(customhouse.Denied, "%s may not %s%s (decision %s)",
		cmp.Or(grant.Identity.Account, "anonymous"), deed(action, need), why, grant.ID)
	refusal.Err = err.WithDetail([]detail{{need.Type, need.Class, need.Name, action}})
	return refusal
}

// why says why d is no, with what goes before it; "" for nothing.
func (g *Gate) why(grant *Grant, need *Need, action customhouse.Action, d *policy.Decision) string {
	if d.Message != "" {
		return ": " + tellable(d.Message)
	}
	if d.By == customhouse.ByScope && g.denials == TellReason {
		return ": it is " + outOfScope
	}
	near, ok := g.policy.(nearer)
	if g.denials != TellReason || !ok || d.By != "" { // rules have not decided, but somebody else
		return ""
	}
	q := g.query(&grant.caller, need.Type, need.Name, &need.Target)
	q.Action = action
	const most = 3 // alternatives that somebody will read
	var ways []string
	for _, s := range near.Nearest(q) {
		if way := wanting(s.Unmet); way != "" && !slices.Contains(ways, way) && len(ways) < most {
			ways = append(ways, way)
		}
	}
	if len(ways) == 0 {
		return ""
	}
	return ": needs " + tellable(strings.Join(ways, ", or "))
}

// wanting says what it would take for conditions to hold; "" where that is not to be told: which other resources and
// accounts there are, and from where they come, is nobody else's business.
func wanting(unmet []policy.Condition) string {
	var parts []string
	for _, c := range unmet {
		if slices.ContainsFunc(c.Want, func(w string) bool { return w == "" || strings.HasPrefix(w, "@") }) { // a set has a name that is not theirs to know
			return ""
		}
		want := strings.Join(c.Want, " or ")
		label, isLabel := strings.CutPrefix(c.Field, "labels.")
		switch {
		case isLabel:
			parts = append(parts, "the label "+label+"="+want)
		case c.Field == "tag":
			parts = append(parts, "a tag like "+want)
		case c.Field == "digest":
			parts = append(parts, "the digest "+want)
		case c.Field == "mediaType":
			parts = append(parts, "the media type "+want)
		case c.Field == "artifactType":
			parts = append(parts, "the artifact type "+want)
		case c.Field == "method":
			parts = append(parts, "a login by "+want)
		case c.Field == "time":
			parts = append(parts, "a time "+want)
		default:
			return ""
		}
	}
	return strings.Join(parts, " and ")
}

// tellable makes text one line of a bounded length.
func tellable(text string) string {
	const most = 500
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// deed reads an action on what need is about aloud.
func deed(a customhouse.Action, need *Need) string {
	if need.Type != customhouse.TypeRepository {
		if a == customhouse.Admin {
			return "administer " + need.Type + " " + need.Name
		}
		return "do everything with " + need.Type + " " + need.Name
	}
	what := need.Name
	switch t := &need.Target; {
	case need.Veiled:
	case t.Known&policy.FactTag != 0 && t.Tag != "":
		what += ":" + t.Tag
	case t.Known&policy.FactDigest != 0 && t.Digest != "":
		what += "@" + t.Digest
	}
	precise := what != need.Name
	switch a {
	case customhouse.Pull:
		return "pull " + what
	case customhouse.List:
		return "see the tags of " + need.Name
	case customhouse.Push:
		return "push to " + what
	case customhouse.Create:
		return "push new content to " + what
	case customhouse.Mount:
		return "mount layers in " + need.Name
	case customhouse.Refer:
		return "attach to what is in " + need.Name
	case customhouse.Delete:
		return "delete from " + what
	case customhouse.Admin:
		return "administer " + need.Name
	}
	switch {
	case a == customhouse.Update && precise:
		return "move the tag " + what
	case a == customhouse.Update:
		return "move tags of " + what
	case a == customhouse.PutTag && precise:
		return "make the tag " + what
	case a == customhouse.PutTag:
		return "make tags of " + what
	}
	return "do everything with " + what
}
