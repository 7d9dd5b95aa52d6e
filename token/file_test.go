package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"customhouse/token"
)

func TestLoadOrCreate(t *testing.T) {
	for _, alg := range signing {
		t.Run(string(alg), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "token.key")
			made, err := token.LoadOrCreate(path, alg)
			if err != nil || made.Algorithm() != alg {
				t.Fatalf("LoadOrCreate = %v", err)
			}
			info, err := os.Stat(path)
			must(t, err)
			if info.Mode().Perm() != 0o600 {
				t.Fatalf("mode = %v, want 0600", info.Mode())
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
				t.Fatalf("the folder holds %v, %v", files, err)
			}
			for _, want := range []token.Algorithm{alg, ""} {
				loaded, err := token.LoadOrCreate(path, want)
				if err != nil || loaded.ID() != made.ID() || loaded.Exposed() {
					t.Fatalf("LoadOrCreate again = %v", err)
				}
			}
		})
	}
	path := filepath.Join(t.TempDir(), "token.key")
	if k, err := token.LoadOrCreate(path, ""); err != nil || k.Algorithm() != token.ES256 {
		t.Fatalf("LoadOrCreate = %v, want an ES256 key", err)
	}
	if _, err := token.LoadOrCreate(path, token.RS256); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("LoadOrCreate for another algorithm = %v", err)
	}
	if _, err := token.LoadOrCreate(path+"2", "HS256"); err == nil {
		t.Fatalf("LoadOrCreate for HS256 = nil, want an error")
	}
	if _, err := token.Load(path + "3"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Load of no file = %v", err)
	}
}

// TestS34KeyFiles shows which key files are refused, by a message that names the file and not its content.
func TestS34KeyFiles(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	pkcs8 := func(k crypto.Signer) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	sec1, err := x509.MarshalECPrivateKey(good)
	must(t, err)
	for _, tt := range []struct {
		name    string
		mode    os.FileMode
		content []byte
		want    string // part of the error; "" for none
	}{
		{"PKCS #8", 0o600, pkcs8(good), ""},
		{"SEC 1 behind parameters", 0o640, append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8}}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...), ""},
		{"readable by all", 0o644, pkcs8(good), ""},
		{"writable by the group", 0o660, pkcs8(good), "others than its owner can write it"},
		{"writable by all", 0o602, pkcs8(good), "others than its owner can write it"},
		{"RSA 1024", 0o600, pkcs8(weak), "1024 bits"},
		{"P-224", 0o600, pkcs8(p224), "P-224"},
		{"P-384", 0o600, pkcs8(p384), ""},
		{"PKCS #1", 0o600, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(strong)}), ""},
		{"encrypted PKCS #8", 0o600, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "encrypted"},
		{"encrypted PKCS #1", 0o600, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")}), "encrypted"},
		{"empty", 0o600, nil, "no private key"},
		{"no PEM", 0o600, []byte("topsecret"), "no private key"},
		{"a certificate", 0o600, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("topsecret")}), "no private key"},
		{"broken", 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("topsecret")}), "cannot be parsed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token.key")
			must(t, os.WriteFile(path, tt.content, 0o600))
			must(t, os.Chmod(path, tt.mode))
			k, err := token.Load(path)
			if tt.want == "" {
				if err != nil || k.Exposed() != (tt.mode&0o004 != 0) {
					t.Fatalf("Load = %+v, %v", k, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "topsecret") {
				t.Fatalf("Load = %v, want an error about %q that names %s", err, tt.want, path)
			}
		})
	}
	if _, err := token.Load(t.TempDir()); err == nil {
		t.Fatalf("Load of a folder = nil, want an error")
	}
}
