package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"time"
	"unicode"

	"customhouse"
	"customhouse/config"
	"customhouse/index"
	"customhouse/token"

	"github.com/spf13/cobra"
)

// What lists are with --json: an array, whose objects have the names of fields that the API has for the same.

type listedAccount struct {
	Name    string              `json:"name"`
	Created time.Time           `json:"created,omitzero"`
	Labels  map[string][]string `json:"labels,omitempty"`
}

type listedRobot struct {
	Name     string              `json:"name"`
	Labels   map[string][]string `json:"labels,omitempty"`
	Owner    *listedOwner        `json:"owner,omitempty"`
	Disabled bool                `json:"disabled"`
	Created  time.Time           `json:"created,omitzero"`
	Secrets  []listedCredential  `json:"secrets"`
}

type listedOwner struct {
	Account string `json:"account"`
	Method  string `json:"method"`
}

// listedRobotOf is r with those of all secrets that are its own.
func listedRobotOf(r customhouse.Robot, all []customhouse.MachineCredential, now time.Time) listedRobot {
	listed := listedRobot{Name: r.Name, Labels: r.Labels, Disabled: r.Disabled, Created: utc(r.Created), Secrets: []listedCredential{}}
	if r.Owner.Account != "" {
		listed.Owner = &listedOwner{r.Owner.Account, r.Owner.Method}
	}
	for _, c := range all {
		if c.Owner.Account == r.Name {
			listed.Secrets = append(listed.Secrets, listedCredentialOf(c, now))
		}
	}
	return listed
}

type listedCredential struct {
	ID       string              `json:"id"`
	Account  string              `json:"account"`
	Method   string              `json:"method,omitempty"` // the source that vouches for the owner of a token
	Name     string              `json:"name"`
	Scopes   []customhouse.Scope `json:"scopes,omitempty"`   // left out where it is for all that the account may do
	Networks []netip.Prefix      `json:"networks,omitempty"` // left out where it may be used from anywhere
	Created  time.Time           `json:"created,omitzero"`
	Expires  time.Time           `json:"expires,omitzero"`
	Used     time.Time           `json:"used,omitzero"`
	Good     bool                `json:"good"`
}

const credentialFields = "id, account, method, name, scopes, networks, created, expires, used and good"

func listedCredentialOf(c customhouse.MachineCredential, now time.Time) listedCredential {
	return listedCredential{
		ID: c.ID, Account: c.Owner.Account, Method: c.Owner.Method, Name: c.Name, Scopes: c.Scopes, Networks: c.Networks,
		Created: utc(c.Created), Expires: utc(c.Expires), Used: utc(c.Used), Good: c.Good(now),
	}
}

type listedKey struct {
	ID        string          `json:"id"`
	Algorithm token.Algorithm `json:"algorithm"`
	State     token.KeyState  `json:"state"`
	From      time.Time       `json:"from,omitzero"`
	Until     time.Time       `json:"until,omitzero"`
}

type listedEndpoint struct {
	Endpoint string `json:"endpoint"`
	Waiting  int64  `json:"waiting"`
	Dead     int64  `json:"dead"`
}

type listedDeadEvent struct {
	Endpoint string    `json:"endpoint"`
	Number   int64     `json:"number"`
	Time     time.Time `json:"time"`
	Action   string    `json:"action"`
	Repo     string    `json:"repo"`
	Tag      string    `json:"tag,omitempty"`
	Digest   string    `json:"digest,omitempty"`
	Reason   string    `json:"reason"`
	Again    bool      `json:"again"` // it is to be told again
}

type listedReplication struct {
	Name      string    `json:"name"`
	Direction string    `json:"direction"`
	Started   time.Time `json:"started,omitzero"`
	Finished  time.Time `json:"finished,omitzero"` // left out while it runs
	Copied    int64     `json:"copied"`
	Present   int64     `json:"present"`
	Deleted   int64     `json:"deleted"`
	Failed    int64     `json:"failed"`
	Next      time.Time `json:"next,omitzero"`
	Asked     bool      `json:"asked"` // a run was asked for and has not begun
	Error     string    `json:"error,omitempty"`
}

func listedReplicationOf(r config.Replicate, last index.Replication) listedReplication {
	l := listedReplication{
		Name: r.Name, Direction: r.Direction, Copied: last.Copied, Present: last.Present, Deleted: last.Deleted, Failed: last.Failed,
		Asked: last.Asked.After(last.Started), Error: last.Error,
	}
	if last.Started.UnixMilli() > 0 {
		l.Started = utc(last.Started)
	}
	if last.Finished.UnixMilli() > 0 && !last.Finished.Before(last.Started) {
		l.Finished = utc(last.Finished)
	}
	if r.Every > 0 && !l.Started.IsZero() {
		l.Next = utc(last.Started.Add(r.Every))
	}
	return l
}

// jsonFlag makes a list be printed as an array too; fields are what its objects have.
func jsonFlag(cmd *cobra.Command, asJSON *bool, fields string) *cobra.Command {
	cmd.Flags().BoolVar(asJSON, "json", false, "print a JSON array")
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	cmd.Long += "\n\nWith --json the objects have " + fields + ". Times are in UTC (RFC 3339), and what there is none of is left out."
	return cmd
}

// listed turns what is listed into what its JSON is.
func listed[T, L any](all []T, one func(T) L) []L {
	list := make([]L, len(all))
	for i, t := range all {
		list[i] = one(t)
	}
	return list
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// printJSON prints v as JSON on one line, in which nothing controls a terminal.
func printJSON(out io.Writer, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	var line bytes.Buffer
	for _, r := range text.String() { // what is not ASCII stands in its strings only
		switch {
		case r < 0x7f || unicode.IsPrint(r):
			line.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&line, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			fmt.Fprintf(&line, `\u%04x`, r)
		}
	}
	_, err := line.WriteTo(out)
	return err
}
