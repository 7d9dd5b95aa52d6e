package main

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/mirror"
	"customhouse/registry"
)

// sources returns what tells of which repository one here is a copy, nil for none. A registry that is read-only serves
// what it has.
func (p parts) sources(c *config.Config) (func(customhouse.Repo) *registry.Source, error) {
	if len(c.Mirrors) == 0 || c.Storage.ReadOnly {
		return nil, nil
	}
	type prefixed struct {
		prefix string
		registry.Source
	}
	var all []prefixed
	for i, m := range c.Mirrors {
		up, err := upstream(m.Far)
		if err != nil {
			return nil, fmt.Errorf("mirrors[%d]: %w", i, err)
		}
		all = append(all, prefixed{m.Prefix, registry.Source{
			Upstream: up, TagTTL: config.Or(m.TagTTL, time.Minute), TTL: config.Or(m.TTL, 168*time.Hour),
			NoStale: !config.Or(m.Stale, true), Linger: config.Or(m.Linger, 5*time.Minute),
		}})
	}
	slices.SortFunc(all, func(a, b prefixed) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	return func(repo customhouse.Repo) *registry.Source {
		for _, s := range all {
			rest, ok := strings.CutPrefix(repo.String(), s.prefix)
			if !ok {
				continue
			}
			src, err := s.Source, error(nil)
			if src.Repo, err = customhouse.ParseRepo(rest); err != nil {
				continue
			}
			return &src
		}
		return nil
	}, nil
}

// upstream returns the other registry that a section tells of.
func upstream(f config.Far) (*mirror.Upstream, error) {
	password := f.Password
	if f.PasswordFile != "" {
		b, err := os.ReadFile(f.PasswordFile)
		if err != nil {
			return nil, err
		}
		password = customhouse.Secret(bytes.TrimRight(b, "\r\n"))
	}
	var cas *x509.CertPool
	if f.CAs != "" {
		var err error
		if cas, err = readCAs(f.CAs); err != nil {
			return nil, err
		}
	}
	return mirror.New(mirror.Options{
		URL: f.URL, Username: f.Username, Password: password, Insecure: f.Insecure, Trusted: f.Trusted, CAs: cas,
		Helper: mirror.Helper{Command: f.Exec.Command, Lifetime: f.Exec.Lifetime},
	})
}
