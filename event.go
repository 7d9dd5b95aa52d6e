package customhouse

import (
	"context"
	"net/netip"
	"time"
)

// What an Event says that has been done.
const (
	EventPush   = "push"
	EventPull   = "pull"
	EventMount  = "mount"
	EventDelete = "delete"
)

// Event is something that has happened to content, for whoever wants to be told.
type Event struct {
	Number     int64        `json:"-"` // its place in the order of all events
	ID         string       `json:"id"`
	Time       time.Time    `json:"time"`
	Action     string       `json:"action"`
	Repo       string       `json:"repo"`
	From       string       `json:"from,omitempty"`       // where a blob was mounted from
	Tag        string       `json:"tag,omitempty"`        // by which it was named
	Digest     string       `json:"digest,omitempty"`     // "" when a tag was deleted
	MediaType  string       `json:"mediaType,omitempty"`  // of a manifest, or application/octet-stream; "" when it was deleted
	Size       int64        `json:"size,omitempty"`       // bytes
	References []Descriptor `json:"references,omitempty"` // what a manifest names, where somebody wants to know
	Origin     Origin       `json:"origin,omitzero"`
}

// IsBlob tells whether the event is about a blob, as far as it says.
func (e *Event) IsBlob() bool { return e.MediaType == MediaTypeOctetStream }

// MediaTypeOctetStream is the type of a blob, whatever is in it.
const MediaTypeOctetStream = "application/octet-stream"

// Origin is the request that something has come from. Nothing is decided by it.
type Origin struct {
	ID      string     `json:"id,omitempty"` // of the gate's decision, by which the log has it
	Account string     `json:"account,omitempty"`
	Client  netip.Addr `json:"client,omitzero"`
	Base    string     `json:"base,omitempty"` // how the client reaches the registry, such as https://registry.example.com
	Method  string     `json:"method,omitempty"`
	Agent   string     `json:"agent,omitempty"`
}

type originKey struct{}

// WithOrigin returns a context that says where what is done in it has come from.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns where what is done in ctx has come from, the zero Origin where nobody said.
func OriginOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	return o
}

type untoldKey struct{}

// Untold returns a context whose changes are no events: what is done in it has happened elsewhere, and is only kept here.
func Untold(ctx context.Context) context.Context { return context.WithValue(ctx, untoldKey{}, true) }

// IsUntold tells whether ctx is of Untold.
func IsUntold(ctx context.Context) bool { return ctx.Value(untoldKey{}) != nil }
