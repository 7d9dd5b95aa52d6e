package token

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const maxKeyFile = 64 << 10 // bytes

// LoadOrCreate returns the key in the PEM file at path, which it makes with a new key for alg if it is not there. An
// empty alg is that of the file, or ES256 for a new one. Errors name the file and nothing of its content.
func LoadOrCreate(path string, alg Algorithm) (*Key, error) {
	k, err := Load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if alg == "" {
			alg = ES256
		}
		return create(path, alg)
	case err != nil:
		return nil, err
	case alg != "" && alg != k.alg:
		return nil, fmt.Errorf("key file %s holds a key for %s, not for %s", path, k.alg, alg)
	}
	return k, nil
}

// Load returns the key in the PEM file at path: PKCS #8, or the older EC and RSA forms, not encrypted. Nobody but its
// owner may be able to write the file. The error is fs.ErrNotExist if it is not there.
func Load(path string) (*Key, error) {
	bad := func(err error) (*Key, error) { return nil, fmt.Errorf("key file %s: %w", path, err) }
	data, mode, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	private, err := parsePrivate(data)
	if err != nil {
		return bad(err)
	}
	k, err := NewKey(private)
	if err != nil {
		return bad(err)
	}
	k.exposed = mode&0o004 != 0
	return k, nil
}

// readKeyFile returns the content and the mode of a file that nobody but its owner can write.
func readKeyFile(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("key file %s: not a regular file", path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, 0, fmt.Errorf("key file %s: others than its owner can write it (mode %04o); use chmod 600", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	return data, info.Mode().Perm(), err
}

// parsePrivate reads the first private key of a PEM file.
func parsePrivate(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("the key is encrypted; decrypt it, there is nobody to ask for a password")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, errors.New("the key cannot be parsed")
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a key of type %T cannot sign", key)
		}
		return signer, nil
	}
	return nil, errors.New("no private key in PEM form")
}

// create makes a key and its file, which is on disk when create returns.
func create(path string, alg Algorithm) (*Key, error) {
	k, err := Generate(alg)
	if err != nil {
		return nil, err
	}
	if err := k.write(path); err != nil {
		return nil, fmt.Errorf("create key file %s: %w", path, err)
	}
	return k, nil
}

// write makes the file of a private key, which is on disk when write returns.
func (k *Key) write(path string) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// LoadVerifying returns the key in the PEM file at path, of which only the public half is used: a public key, a private one
// or a certificate. Nobody but its owner may be able to write the file.
func LoadVerifying(path string) (*Key, error) {
	data, _, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	public, err := parsePublic(data)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	k, err := NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

// parsePublic reads the public half of the first key of a PEM file.
func parsePublic(data []byte) (crypto.PublicKey, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PUBLIC KEY":
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, errors.New("the public key cannot be parsed")
			}
			return key, nil
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, errors.New("the certificate cannot be parsed")
			}
			return c.PublicKey, nil
		}
	}
	private, err := parsePrivate(data)
	if err != nil {
		return nil, err
	}
	return private.Public(), nil
}

// writeFile puts a file that only its owner can read in place, whole and durable or not at all.
func writeFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncFolder makes names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
