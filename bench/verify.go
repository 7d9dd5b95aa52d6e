package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"customhouse"
)

// accept is what manifests are asked for with, as a header line.
const accept = "Accept: " + customhouse.MediaTypeImageManifest + ", " + customhouse.MediaTypeImageIndex + ", " +
	customhouse.MediaTypeDockerManifest + ", " + customhouse.MediaTypeDockerList + "\r\n"

// httpGet asks for a URL with the ordinary client; auth is a header line or "".
func httpGet(ctx context.Context, url, auth string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(auth + accept) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		req.Header.Set(name, value)
	}
	return http.DefaultClient.Do(req)
}

// verify gets path with an ordinary client and compares the digest of the body.
func (t *target) verify(ctx context.Context, path, auth string, digest customhouse.Digest) error {
	resp, err := httpGet(ctx, "http://"+t.addr+path, auth)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, resp.Body); err != nil {
		return err
	}
	if got := customhouse.DigestSum(customhouse.SHA256, hash); resp.StatusCode != http.StatusOK || got != digest {
		return fmt.Errorf("GET %s: %s, digest %s, want %s", path, resp.Status, got, digest)
	}
	return nil
}

// verifyList gets path and looks for a name and for at least count names: docker-registry ignores n in tag lists.
func (t *target) verifyList(ctx context.Context, path, auth, name string, count int) error {
	resp, err := httpGet(ctx, "http://"+t.addr+path, auth)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var list struct {
		Tags         []string `json:"tags"`
		Repositories []string `json:"repositories"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return fmt.Errorf("GET %s: %s: %w", path, resp.Status, err)
	}
	names := append(list.Tags, list.Repositories...)
	found := slices.Contains(names, name)
	if resp.StatusCode != http.StatusOK || !found || len(names) < count {
		return fmt.Errorf("GET %s: %s, %d names, with %s: %t, want %d", path, resp.Status, len(names), name, found, count)
	}
	return nil
}
