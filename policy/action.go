package policy

import (
	"strings"

	"customhouse"
)

// actions is a set of actions, as bits. Push is no bit of its own: it is create, its parts, and update.
type actions uint16

const (
	list actions = 1 << iota
	pull
	create // what create has beside its parts
	mount
	tagging
	refer
	update
	remove
	admin
	star

	every = star<<1 - 1
)

// words are the actions that rules and queries may name, with what a rule lists by them. Those of several parts stand
// before their parts.
var words = [...]struct {
	name  customhouse.Action
	lists actions
}{
	{customhouse.Pull, pull | list},
	{customhouse.List, list},
	{customhouse.Push, create | mount | tagging | refer | update},
	{customhouse.Create, create | mount | tagging | refer},
	{customhouse.Update, update},
	{customhouse.Mount, mount},
	{customhouse.PutTag, tagging},
	{customhouse.Refer, refer},
	{customhouse.Delete, remove},
	{customhouse.Admin, admin},
	{customhouse.All, every},
}

// String lists a as a rule would, such as "pull, push".
func (a actions) String() string {
	var names []string
	for i := range words {
		w := words[i]
		if w.name == customhouse.All {
			w.lists = star
		}
		if a == every {
			w = words[len(words)-1]
		}
		if a != 0 && a&w.lists == w.lists {
			names = append(names, string(w.name))
			a &^= w.lists
		}
	}
	return strings.Join(names, ", ")
}

// listed returns what a rule means by an action; 0 for an unknown one.
func listed(a customhouse.Action) actions {
	for i := range words {
		if words[i].name == a {
			return words[i].lists
		}
	}
	return 0
}

// wanted returns the actions of which a query for a needs one; 0 for an unknown action.
func wanted(a customhouse.Action) actions {
	switch a {
	case customhouse.Pull:
		return pull
	case customhouse.Push:
		return create | mount | tagging | refer | update
	case customhouse.Create:
		return create
	case customhouse.All:
		return star
	}
	return listed(a)
}

// known is the actions that rules may name, in words.
const known = "pull, list, push, create, update, mount, tag, referrer, delete, admin or *"
