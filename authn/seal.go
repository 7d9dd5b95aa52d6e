package authn

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Seal encrypts what we keep and must be able to read again, such as a provider's tokens (AES-256-GCM).
type Seal struct{ aead cipher.AEAD }

// NewSeal returns a Seal with a key of 32 bytes.
func NewSeal(key []byte) (*Seal, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("a key of %d bytes, want 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Seal{aead}, nil
}

// LoadOrCreateSeal returns a Seal with the key in the file at path: 32 bytes in base 64. It makes the file, which only
// its owner can read, if it is not there. Errors name the file and nothing of its content.
func LoadOrCreateSeal(path string) (*Seal, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createSeal(path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key file %s: others than its owner can reach it (mode %04o); use chmod 600", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("key file %s: want 32 bytes in base 64", path)
	}
	return NewSeal(key)
}

func createSeal(path string) (*Seal, error) {
	var key [32]byte
	rand.Read(key[:])
	text := base64.StdEncoding.EncodeToString(key[:]) + "\n"
	if err := writePrivate(path, []byte(text)); err != nil {
		return nil, fmt.Errorf("create key file %s: %w", path, err)
	}
	return NewSeal(key[:])
}

// writePrivate puts a file that only its owner can read in place, whole and durable or not at all.
func writePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Seal returns plain encrypted. It opens only together with the same about, which says what it belongs to.
func (s *Seal) Seal(plain []byte, about string) []byte {
	return s.aead.Seal(nil, nil, plain, []byte(about))
}

// Open returns what was sealed. The error says nothing of it.
func (s *Seal) Open(sealed []byte, about string) ([]byte, error) {
	plain, err := s.aead.Open(nil, nil, sealed, []byte(about))
	if err != nil {
		return nil, errors.New("cannot be decrypted: another key, or it was changed")
	}
	return plain, nil
}
