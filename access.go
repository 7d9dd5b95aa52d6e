package customhouse

import (
	"slices"
	"strings"
)

// Action is what a client wants to do with a resource.
type Action string

// Actions on a repository; the Docker token scope documentation names pull, push, delete and "*". What a client asks for
// is one of these; rules may tell their parts apart.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
	All    Action = "*"
)

// Parts of what a client asks for. List is part of Pull. Create and Update are Push: Create makes new content and new tags
// and has the parts Mount, PutTag and Refer; Update moves a tag that is there.
const (
	List   Action = "list"     // see the names of a repository and of its tags
	Create Action = "create"   // make new content and new tags
	Update Action = "update"   // move a tag that is there
	Mount  Action = "mount"    // take over blobs of other repositories
	PutTag Action = "tag"      // make a new tag for a manifest that is there
	Refer  Action = "referrer" // push manifests that have a subject, such as signatures
	Admin  Action = "admin"    // ask about and change what belongs to others
)

// Whole returns the action that clients ask for of which a is a part, a itself where it is one: for whoever decides and
// knows of no parts.
func (a Action) Whole() Action {
	switch a {
	case List:
		return Pull
	case Create, Update, Mount, PutTag, Refer:
		return Push
	}
	return a
}

// Types of resource in a scope.
const (
	TypeRepository = "repository"
	TypeRegistry   = "registry"
)

// Catalog is the resource that GET /v2/_catalog asks for, with the action All.
const Catalog = "catalog"

// Access is one resource and actions on it: a need of a request, a scope that was asked for, or a claim in a token. Its
// JSON form is the element of the "access" claim (https://distribution.github.io/distribution/spec/auth/jwt/).
type Access struct {
	Type    string   `json:"type"`
	Class   string   `json:"class,omitempty"`
	Name    string   `json:"name"`
	Actions []Action `json:"actions"`
}

// maxActions is how many actions a scope may name.
const maxActions = 16

// ParseScope reads one resource scope: type[(class)]:name:action[,action]...
// (https://distribution.github.io/distribution/spec/auth/scope/). The name of a repository may begin with host[:port]/
// and obeys the grammar of ParseRepo otherwise; resources of other types take the characters of a path. Actions are
// kept in their order, each once. The error is a *Error with code UNSUPPORTED that says what is wrong.
func ParseScope(s string) (Access, error) {
	bad := func(why string) (Access, error) {
		return Access{}, Errorf(Unsupported, "invalid scope: %s", why).WithDetail(map[string]string{"scope": s})
	}
	first, last := strings.IndexByte(s, ':'), strings.LastIndexByte(s, ':')
	if first < 0 || first == last {
		return bad("want type:name:action[,action]")
	}
	a := Access{Type: s[:first], Name: s[first+1 : last]}
	if open := strings.IndexByte(a.Type, '('); open >= 0 {
		if !strings.HasSuffix(a.Type, ")") {
			return bad("the class after the type is not closed")
		}
		a.Type, a.Class = a.Type[:open], a.Type[open+1:len(a.Type)-1]
		if !isWord(a.Class) {
			return bad("the class is not [a-z0-9]+")
		}
	}
	if !isWord(a.Type) {
		return bad("the type is not [a-z0-9]+")
	}
	if !validResourceName(a.Type, a.Name) {
		return bad("the name does not obey the grammar of names")
	}
	if s[last+1:] == "" {
		return a, nil
	}
	if strings.Count(s[last+1:], ",") >= maxActions {
		return bad("more actions than there are")
	}
	for action := range strings.SplitSeq(s[last+1:], ",") {
		if action != "*" && !isWord(action) {
			return bad("an action is neither [a-z0-9]+ nor *")
		}
		if !slices.Contains(a.Actions, Action(action)) {
			a.Actions = append(a.Actions, Action(action))
		}
	}
	return a, nil
}

// String writes a as a scope, the inverse of ParseScope.
func (a Access) String() string {
	var b strings.Builder
	b.WriteString(a.Type)
	if a.Class != "" {
		b.WriteString("(" + a.Class + ")")
	}
	b.WriteString(":" + a.Name + ":")
	for i, action := range a.Actions {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(string(action))
	}
	return b.String()
}

// isWord matches [a-z0-9]+.
func isWord(s string) bool {
	for i := range len(s) {
		if !isLowerAlnum(s[i]) {
			return false
		}
	}
	return s != ""
}

func validResourceName(typ, name string) bool {
	if typ == TypeRepository {
		if host, rest, ok := strings.Cut(name, "/"); ok && strings.ContainsAny(host, ":.") && validHost(host) {
			name = rest
		}
	}
	_, err := ParseRepo(name)
	return err == nil
}

// validHost matches a host name or IPv4 address with an optional port.
func validHost(s string) bool {
	host, port, hasPort := strings.Cut(s, ":")
	if host == "" || hasPort && (port == "" || strings.Trim(port, "0123456789") != "") {
		return false
	}
	for i := range len(host) {
		if c := host[i]; !isLowerAlnum(c) && (c < 'A' || c > 'Z') && c != '.' && c != '-' {
			return false
		}
	}
	return !strings.Contains(host, "..")
}
