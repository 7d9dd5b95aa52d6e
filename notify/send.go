package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"customhouse"
	"customhouse/outbound"
)

// refusal is an answer that says that the event is not wanted, and that sending it again may well get the same.
type refusal struct{ status int }

func (r refusal) Error() string { return fmt.Sprintf("the endpoint answers with status %d", r.status) }

const maxDrain = 64 << 10 // bytes that are read of an answer, so that its connection is used again

// send posts one event. The error is a refusal, or says why it cannot be told whether the event is wanted.
func (e *endpoint) send(ctx context.Context, event customhouse.Event) error {
	body, contentType, err := e.encode(&event)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, values := range e.Headers {
		for _, v := range values {
			r.Header.Add(name, string(v))
		}
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "customhouse")
	if e.Secret != "" {
		r.Header.Set(outbound.SignatureHeader, outbound.Sign(e.Secret, e.now(), body))
	}
	resp, err := e.client.Do(r)
	if err != nil {
		return unreachable(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	switch status := resp.StatusCode; {
	case status/100 == 2:
		if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType == "text/html" && !e.warned {
			e.warned = true
			e.log.Warn("an endpoint takes events and answers with a page for people; is its URL right?", "endpoint", e.Name)
		}
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return fmt.Errorf("the endpoint answers with status %d", status)
	case status/100 == 3:
		return fmt.Errorf("the endpoint answers with status %d: it has moved, and is not followed", status)
	default:
		return refusal{status}
	}
}

func (e *endpoint) encode(event *customhouse.Event) (body []byte, contentType string, err error) {
	envelope := e.envelope(event)
	if e.Format == CloudEvents {
		body, err = json.Marshal(cloudEvent{
			SpecVersion: "1.0", ID: event.ID, Source: "//" + e.source.Addr, Type: "io.customhouse." + event.Action,
			Subject: event.Repo, Time: event.Time, ContentType: "application/json", Data: envelope,
		})
		return body, "application/cloudevents+json", err
	}
	body, err = json.Marshal(map[string][]*envelopeEvent{"events": {envelope}})
	return body, "application/vnd.docker.distribution.events.v2+json", err
}

// cloudEvent is an event in the JSON format of CloudEvents 1.0.
type cloudEvent struct {
	SpecVersion string         `json:"specversion"`
	ID          string         `json:"id"`
	Source      string         `json:"source"`
	Type        string         `json:"type"`
	Subject     string         `json:"subject"`
	Time        time.Time      `json:"time"`
	ContentType string         `json:"datacontenttype"`
	Data        *envelopeEvent `json:"data"`
}

// envelopeEvent is an event as distribution tells it
// (https://distribution.github.io/distribution/about/notifications/).
type envelopeEvent struct {
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	Action    string    `json:"action"`
	Target    target    `json:"target"`
	Request   request   `json:"request"`
	Actor     actor     `json:"actor"`
	Source    source    `json:"source"`
}

type target struct {
	MediaType      string                   `json:"mediaType,omitempty"`
	Size           int64                    `json:"size,omitempty"`
	Digest         string                   `json:"digest,omitempty"`
	Length         int64                    `json:"length,omitempty"`
	Repository     string                   `json:"repository"`
	FromRepository string                   `json:"fromRepository,omitempty"`
	URL            string                   `json:"url,omitempty"`
	Tag            string                   `json:"tag,omitempty"`
	References     []customhouse.Descriptor `json:"references,omitempty"`
}

type request struct {
	ID        string `json:"id"`
	Addr      string `json:"addr"`
	Host      string `json:"host"`
	Method    string `json:"method"`
	UserAgent string `json:"useragent"`
}

type actor struct {
	Name string `json:"name"`
}

type source struct {
	Addr       string `json:"addr"`
	InstanceID string `json:"instanceID"`
}

// envelope returns event as distribution tells it.
func (e *endpoint) envelope(event *customhouse.Event) *envelopeEvent {
	o := &event.Origin
	_, host, _ := strings.Cut(o.Base, "://")
	host, _, _ = strings.Cut(host, "/")
	told := &envelopeEvent{
		ID: event.ID, Timestamp: event.Time, Action: event.Action,
		Target: target{
			MediaType: event.MediaType, Size: event.Size, Digest: event.Digest, Length: event.Size,
			Repository: event.Repo, FromRepository: event.From, Tag: event.Tag, References: event.References,
		},
		Request: request{ID: o.ID, Host: host, Method: o.Method, UserAgent: o.Agent},
		Actor:   actor{o.Account}, Source: e.source,
	}
	if o.Client.IsValid() {
		told.Request.Addr = o.Client.String()
	}
	if o.Base != "" && event.Digest != "" && event.MediaType != "" {
		kind := "/manifests/"
		if event.IsBlob() {
			kind = "/blobs/"
		}
		told.Target.URL = o.Base + "/v2/" + event.Repo + kind + event.Digest
	}
	return told
}

// instanceID names this process, for receivers that care.
func instanceID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
