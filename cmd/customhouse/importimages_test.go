package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"customhouse"
)

// A registry whose certificate a private authority vouches for is reached with --ca, and with a password from standard input; without,
// the hint says how.
func TestImportFromPrivateCA(t *testing.T) {
	config := []byte("{}")
	digest := customhouse.DigestOf(customhouse.SHA256, config)
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`,
		customhouse.MediaTypeImageManifest, digest)
	far := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		content := map[string][]byte{
			"/v2/team/app/tags/list":                  []byte(`{"name":"team/app","tags":["v1"]}`),
			"/v2/team/app/manifests/v1":               manifest,
			"/v2/team/app/blobs/" + digest.String():   config,
			"/v2/team/app/manifests/" + sum(manifest): manifest,
		}[r.URL.Path]
		switch {
		case name != "ci" || password != "correct-horse":
			w.Header().Set("WWW-Authenticate", `Basic realm="far"`)
			w.WriteHeader(http.StatusUnauthorized)
		case content == nil:
			http.NotFound(w, r)
		default:
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", customhouse.MediaTypeImageManifest)
				w.Header().Set("Docker-Content-Digest", sum(manifest))
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content)
		}
	}))
	far.Config.ErrorLog = log.New(io.Discard, "", 0) // a certificate is refused, as it should be
	far.StartTLS()
	defer far.Close()
	dir := t.TempDir()
	ca, none, conf := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "none.pem"), filepath.Join(dir, "customhouse.yml")
	for file, text := range map[string][]byte{conf: []byte("data: data\nstorage: {reserve: 0}\n"), ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: far.Certificate().Raw}), none: nil} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want string // of the error or, without one, of the output
		hint string
	}{
		{nil, "certificate signed by unknown authority", "--ca FILE names who has issued its certificate"},
		{[]string{"--ca", none}, "--ca: " + none + ": no certificate in it", ""},
		{[]string{"--ca", ca + ".absent"}, "--ca: open ", ""},
		{[]string{"--ca", ca}, "imported 1 image: 2 pieces of content", ""},
	} {
		var out, warnings bytes.Buffer
		cmd := importCommand()
		cmd.SetArgs(append([]string{"docker://" + strings.TrimPrefix(far.URL, "https://") + "/team/app", "-u", "ci", "--password-stdin", "-c", conf}, c.args...))
		cmd.SetIn(strings.NewReader("correct-horse\n"))
		cmd.SetOut(&out)
		cmd.SetErr(&warnings)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			printError(&out, err)
		}
		if !strings.Contains(out.String(), c.want) || !strings.Contains(out.String(), c.hint) {
			t.Errorf("import %q = %q, want %q and the hint %q", c.args, &out, c.want, c.hint)
		}
	}
}

func sum(content []byte) string { return customhouse.DigestOf(customhouse.SHA256, content).String() }
