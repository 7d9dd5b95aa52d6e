// Package policy decides who may do what. It is a pure function of rules and a query: it reads no clock, no network and
// no file, and the same query always gets the same answer, with the rule that gave it.
//
//	p, err := policy.Compile(rules, policy.Options{})
//	d := p.Decide(policy.Query{Identity: id, Type: "repository", Name: "acc/app", Action: customhouse.Pull})
//
// Explain answers the same with what every rule has to say, and Lint tells which rules are likely not what was meant.
//
// # Rules
//
// Rules are asked in their order and the first that matches decides; nothing after it is read. A rule matches when every
// condition that it states holds; a condition that is left out holds always.
//
//   - An allow rule, the default, states the whole set of actions: what it lists is allowed, what it does not list is
//     denied, and an empty list denies everything. These are the rules of cesanta/docker_auth.
//   - A rule with "effect: deny" denies the actions that it lists, or all of them when it lists none or "*". About every
//     other action it says nothing, and the next rules are asked.
//   - An allow rule with "public: true" is inherited by everybody: what it lists is allowed, and about the rest it says
//     nothing. It is asked even where an allow rule before it has matched without listing the action; a deny rule before
//     it that lists the action wins all the same. It has no condition on who is asking.
//   - Where no rule matches, the answer is no.
//
// A rule with "from" and "expires" matches only in between. Both are times in the form of RFC 3339 or dates: a rule holds
// from the beginning of the one until the end of the other, in UTC.
//
// # Actions
//
//	pull      pull content, and list
//	list      see the names of a repository and of its tags
//	push      create and update
//	create    make new content and new tags, and with it mount, tag and referrer
//	mount     take over blobs of repositories that one may pull from
//	tag       give a new tag to a manifest that is there
//	referrer  push manifests that have a subject, such as signatures, without a tag
//	update    move a tag that is there
//	delete    delete tags, manifests and blobs
//	admin     ask about and change what belongs to others
//	*         everything
//
// A rule that lists an action lists its parts. A query for push, which is all that a token request or the start of an
// upload can know, is allowed when any of its parts is; the request that writes the tag asks for the precise one. A query
// for "*" itself, as GET _catalog makes it, is allowed only by a rule that lists "*". A deny rule about tags that denies
// update denies delete as well: a tag could be removed and made anew otherwise.
//
// # Values
//
// A condition has one value or a list of them, of which one must match. A value is a pattern, which is compared with the
// whole text, never with a part of it:
//
//	acc/app            exactly this; a backslash takes the character after it as it is
//	acc/*              * is any text without a slash, ? any one character but a slash
//	acc/**             ** is any text; acc/** is everything below acc/, but not acc
//	app[0-9] app[^a]   one character of, or outside, a class; never a slash
//	/team-(a|b)/.*/    between two slashes an RE2 expression, anchored at both ends
//	@admins            whatever matches a member of the set admins; \@ is a plain @
//
// Sets are defined beside the rules. Their members are values themselves, so that a set may hold patterns and other sets.
//
// Anonymous has the account name "". It is matched by the value "", by a rule without a condition on account, and by
// nothing else, so that "account: **" means whoever is logged in. (Most accounts also match "*"; one with a slash, such as
// CORP/bob, does not.) In the same way "" is no method of login, no tag and no artifact type.
//
// A condition on labels names labels and values for each: every label must have a value that matches. One on claims does
// the same for the token that proved the account: text, numbers and booleans are compared as they are written, lists by
// their elements, and a.b is b within a unless there is a claim a.b. A condition on ip has addresses or prefixes in CIDR
// form; an IPv4 address that comes as IPv6 counts as IPv4.
//
// # Placeholders
//
// ${account}, ${type}, ${name}, ${service} and ${labels:KEY} stand for facts of the query in any pattern. Their values are text
// and never pattern: an account named * owns nothing but "*". A label with several values matches with any of them; one
// that stands twice in a pattern has the same value at both places. A placeholder whose value is absent or empty
// matches nothing.
//
// # Expressions
//
// "when" is an expression in CEL (https://cel.dev) that must be true, beside the other conditions and after them. It knows
//
//	identity.account       text; "" is anonymous
//	identity.method        text
//	identity.labels        for each label a list of text
//	identity.claims        what the token says, of any type
//	request.action         the action asked about; a request asks for the precise part, such as create, a token for push
//	request.service        text
//	request.ip             text; "" is unknown
//	request.time           a time, such as in request.time.getHours("Europe/Berlin") < 18
//	target.type            repository or registry
//	target.name            text
//	target.tag             text; "" is none
//	target.digest          text
//	target.mediaType       text
//	target.artifactType    text; "" is none
//
// and CEL's own functions, of which matches takes literal expressions only; cidr("10.0.0.0/8").contains(request.ip) tells
// whether an address is in a network. A name that does not exist and a comparison of different types are found when the
// rules are read. What fails when it is asked, such as a label that an identity does not have, denies everything, whatever
// the rule would have said: has(identity.labels.group) && "dev" in identity.labels.group is for those who may lack it.
//
// # What is not known yet
//
// A token is asked for before its holder has named a tag, and a condition on what a query leaves unknown neither holds nor
// fails. Such a rule may match, and the next are asked too. An action is allowed only if it is in every way in which the
// rules could match; it is maybe allowed if it is in some.
package policy

import (
	"net/netip"
	"time"

	"customhouse"
)

// Query is one action by somebody on one resource.
type Query struct {
	Identity customhouse.Identity
	Client   netip.Addr // the zero Addr matches no condition on ip
	Service  string     // the audience that a token is asked for
	Type     string     // such as customhouse.TypeRepository
	Name     string     // such as "acc/app", or customhouse.Catalog
	Action   customhouse.Action
	Target   Target
	Time     time.Time // of the request; zero is unknown
}

// Target is what of a resource a query is about. What is not known of it makes rules that ask for it answer maybe.
type Target struct {
	Known        Fact   // which of what follows is known, be it that there is none
	Tag          string // "" is no tag
	Digest       string
	MediaType    string
	ArtifactType string
}

// Fact is a set of facts about a Target.
type Fact uint8

// The facts.
const (
	FactTag Fact = 1 << iota
	FactDigest
	FactMediaType
	FactArtifactType

	Facts = FactTag | FactDigest | FactMediaType | FactArtifactType // all of them
)

// unmap makes the client an address that conditions on ip can be compared with.
func (q *Query) unmap() {
	if q.Client.Is4In6() || q.Client.Zone() != "" {
		q.Client = q.Client.Unmap().WithZone("")
	}
}

// Decision is the answer to a Query, with its ground.
type Decision struct {
	Allowed bool
	Maybe   bool   // not allowed as asked: whether it is depends on what the query leaves unknown
	Open    bool   // it depends on what is unknown too whether anybody has decided at all: somebody else may be asked
	Rule    int    // index of the rule that decided, or that it depends on; -1 when none did
	Source  string // Source of that rule, or a word for whoever else decided; "" when nobody did
	By      string // who decided, if somebody else than these rules
	Reason  string // for the log, and for whoever may read the rules
	Message string // what the rule wants those to be told whom it denies; "" is nothing
}

// Undecided tells whether nobody has decided: no rule matches, and somebody else may be asked.
func (d Decision) Undecided() bool { return !d.Allowed && d.Rule < 0 && d.Source == "" }

// Else returns the decision that results when next is asked where d may be undecided.
func (d Decision) Else(next Decision) Decision {
	switch {
	case d.Undecided():
		return next
	case !d.Open || next.Undecided():
		return d
	case d.Maybe: // allowed, or for next to decide
		if next.Allowed {
			return next
		}
		d.Open = next.Maybe && next.Open
		return d
	case next.Allowed || next.Maybe: // denied, or for next to decide
		d.Maybe, d.Open = true, false
		return d
	}
	return next
}

// answer is a Decision that is made beforehand, in the form in which one that is alone is handed out.
type answer = []Decision

// noRule is the answer where no rule decides.
var noRule = answer{{Rule: -1, Reason: "no rule matches"}}

// Policy is a compiled list of rules. It is immutable and safe for concurrent use. The zero Policy denies everything.
type Policy struct {
	rules      []rule
	written    []Rule // what they are made of
	index      index
	lastPublic int      // how many rules there are up to the last public one
	facts      Fact     // what of a target, and whether the time, its rules depend on
	unused     []string // names of the sets that no rule uses
	acl        *acl     // nil unless the rules are in the dialect of docker_auth
}

// Len returns how many rules p has.
func (p *Policy) Len() int {
	if p.acl != nil {
		return len(p.acl.rules)
	}
	return len(p.rules)
}

// Facts returns what of a target any rule of p asks about: nobody need find out the rest.
func (p *Policy) Facts() Fact { return p.facts & Facts }

// Decide answers q. With rules free of regular expressions it does not allocate.
func (p *Policy) Decide(q Query) Decision {
	q.unmap()
	return p.decide(&q)[0]
}

// DecideAll answers q for each of actions, in their order, as Decide does for the action of q. The caller does not change
// the answers: that to a single action is made beforehand, and is not copied.
func (p *Policy) DecideAll(q Query, actions []customhouse.Action) []Decision {
	q.unmap()
	if p.acl != nil {
		return p.acl.decideAll(&q, actions)
	}
	if len(actions) == 1 {
		q.Action = actions[0]
		return p.decide(&q)
	}
	all := make([]Decision, len(actions))
	for i, a := range actions {
		q.Action = a
		all[i] = p.decide(&q)[0]
	}
	return all
}
