package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a-h/templ"

	"customhouse"
)

// view is what every page shows.
type view struct {
	Registry string // the host to log in to
	Account  string // "" before the sign-in
	Provider string // its title

	prefix string
	assets map[string]asset
}

func (v view) url(path string) templ.SafeURL { return templ.SafeURL(v.prefix + path) }

// asset returns the URL of a file, which changes with its content.
func (v view) asset(name string) string {
	return v.prefix + "/ui/" + name + "?v=" + v.assets[name].version
}

func (h *Handler) view(r *http.Request, who *visitor) view {
	v := view{Registry: h.o.Registry, prefix: h.o.Prefix, assets: h.assets}
	if v.Registry == "" && h.o.Public != nil {
		v.Registry = h.o.Public.Host
	}
	if v.Registry == "" {
		v.Registry = clip(r.Host)
	}
	if who != nil {
		v.Account, v.Provider = who.signIn.Account, who.door.Title()
	}
	return v
}

// door is a way to sign in.
type door struct{ Name, Title, URL string }

// passwordsPage is what the page of passwords shows.
type passwordsPage struct {
	Fresh     *fresh // the password that was just made; nil for none
	Lifetimes []lifetime
	Mistake   string
	Rows      []row
	Labels    []label
}

type fresh struct{ Secret, Command string }

type lifetime struct {
	Days     string // 0 is for ever
	Text     string
	Selected bool
}

type row struct {
	ID, Name, Created, Used, Expires string
	Expired                          bool
}

type label struct {
	Name   string
	Values []string
}

func (h *Handler) toHome(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, h.o.Prefix+"/ui/", http.StatusSeeOther)
	return nil
}

// home shows the passwords to who has signed in, and the ways to sign in to others.
func (h *Handler) home(w http.ResponseWriter, r *http.Request) error {
	who, err := h.visitor(r.Context())
	if err != nil {
		return err
	}
	if who != nil {
		return h.show(w, r, who, http.StatusOK, passwordsPage{})
	}
	var doors []door
	for _, b := range h.o.Providers {
		doors = append(doors, door{b.Name(), b.Title(), h.o.Prefix + "/ui/sign-in/" + b.Name()})
	}
	return choose(h.view(r, nil), doors).Render(r.Context(), w)
}

// show writes the page of passwords around what p says already.
func (h *Handler) show(w http.ResponseWriter, r *http.Request, who *visitor, status int, p passwordsPage) error {
	now := h.o.Now()
	p.Lifetimes = h.lifetimes()
	for _, a := range who.passwords {
		p.Rows = append(p.Rows, row{
			ID: a.ID, Name: a.Name, Created: day(a.Created, ""), Used: day(a.Used, "never"), Expires: day(a.Expires, "never"), Expired: !a.Good(now),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(who.signIn.Labels)) {
		p.Labels = append(p.Labels, label{name, who.signIn.Labels[name]})
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	return passwords(h.view(r, who), p).Render(r.Context(), w)
}

// day writes a date; zero is what none is called.
func day(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format("2 Jan 2006")
}

// lifetimes are those that are offered.
func (h *Handler) lifetimes() []lifetime {
	longest, offered := days(h.o.LongestFor), days(h.o.PasswordFor)
	if longest > 0 {
		offered = min(offered, longest)
	}
	all := []int{7, 30, 90, 180, 365, offered}
	if longest > 0 {
		all = append(all, longest)
	}
	slices.Sort(all)
	var ls []lifetime
	for _, n := range slices.Compact(all) {
		if n > 0 && (longest == 0 || n <= longest) {
			ls = append(ls, lifetime{strconv.Itoa(n), plural(n), n == offered})
		}
	}
	if longest == 0 {
		ls = append(ls, lifetime{"0", "ever", false})
	}
	return ls
}

func plural(days int) string {
	if days == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", days)
}

func days(d time.Duration) int { return int((d + 24*time.Hour - 1) / (24 * time.Hour)) }

// makePassword makes a password and shows it, this once.
func (h *Handler) makePassword(w http.ResponseWriter, r *http.Request) error {
	who, err := h.signedIn(r)
	if err != nil {
		return err
	}
	name, expires, mistake := h.form(r)
	if mistake != "" {
		return h.show(w, r, who, http.StatusBadRequest, passwordsPage{Mistake: mistake})
	}
	secret, made, err := who.door.NewPassword(who.doing(r.Context()), who.signIn, name, expires)
	var no *customhouse.Error
	if errors.As(err, &no) && no.Code == customhouse.Denied {
		return h.show(w, r, who, http.StatusConflict, passwordsPage{Mistake: no.Message})
	}
	if err != nil {
		return err
	}
	who.passwords = slices.Insert(who.passwords, 0, made)
	command := fmt.Sprintf("docker login %s -u %s -p %s", quote(h.view(r, who).Registry), quote(who.signIn.Account), string(secret))
	return h.show(w, r, who, http.StatusOK, passwordsPage{Fresh: &fresh{string(secret), command}})
}

// signedIn returns who has signed in. The error is a *problem if nobody has.
func (h *Handler) signedIn(r *http.Request) (*visitor, error) {
	who, err := h.visitor(r.Context())
	if err == nil && who == nil {
		err = &problem{http.StatusUnauthorized, "Not signed in", "Your session has ended. Sign in again."}
	}
	return who, err
}

// form reads what a new password shall be.
func (h *Handler) form(r *http.Request) (name string, expires time.Time, mistake string) {
	const maxName = 64
	name = strings.TrimSpace(r.PostFormValue("name"))
	bad := func(r rune) bool { return !unicode.IsPrint(r) }
	if name == "" || utf8.RuneCountInString(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
		return "", time.Time{}, "Give it a name of up to 64 letters."
	}
	n, err := strconv.Atoi(r.PostFormValue("days"))
	longest := days(h.o.LongestFor)
	if err != nil || n < 0 || n > 100*366 || longest > 0 && (n == 0 || n > longest) {
		return "", time.Time{}, "Choose for how long it is good."
	}
	if n == 0 {
		return name, time.Time{}, ""
	}
	lifetime := time.Duration(n) * 24 * time.Hour
	if longest > 0 {
		lifetime = min(lifetime, h.o.LongestFor) // which may end within a day
	}
	return name, h.o.Now().Add(lifetime), ""
}

// revoke makes a password good for nothing.
func (h *Handler) revoke(w http.ResponseWriter, r *http.Request) error {
	who, err := h.signedIn(r)
	if err != nil {
		return err
	}
	err = who.door.Revoke(who.doing(r.Context()), who.signIn, r.PostFormValue("id"))
	if err != nil && !errors.Is(err, customhouse.ErrNotFound) { // one that is gone was revoked in another window
		return err
	}
	if r.Header.Get("HX-Request") == "" {
		return h.toHome(w, r)
	}
	if who, err = h.signedIn(r); err != nil {
		return err
	}
	return h.show(w, r, who, http.StatusOK, passwordsPage{})
}

// quote writes a word for a shell. Names come from a provider and are pasted into terminals.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._+-:/[]") == "" && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
