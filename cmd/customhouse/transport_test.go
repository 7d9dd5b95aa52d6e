package main

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"

	"customhouse/config"
)

// An authority that gives no certificate is told of, for a host of ours, and not once for each connection.
func TestNoCertificate(t *testing.T) {
	var out bytes.Buffer
	section := config.TLS{ACME: config.ACME{Hosts: []string{"reg.example.com"}, Cache: t.TempDir(), Directory: "http://127.0.0.1:1/dir"}}
	e, err := newEncryption(section, true, nil, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"other.example.com", "reg.example.com", "REG.example.com"} {
		if _, err := e.config.GetCertificate(&tls.ClientHelloInfo{ServerName: host}); err == nil {
			t.Fatalf("a certificate for %s", host)
		}
	}
	if log := out.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "no certificate could be got") ||
		!strings.Contains(log, "host=reg.example.com") || !strings.Contains(log, "connection refused") {
		t.Errorf("log = %s", log)
	}
}
