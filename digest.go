package customhouse

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
)

// Algorithm is a digest algorithm registered by the OCI image-spec ("Digests").
type Algorithm string

// The algorithms that the image-spec registers.
const (
	SHA256 Algorithm = "sha256"
	SHA512 Algorithm = "sha512"
)

// ParseAlgorithm reads the name of an algorithm. The error is a DIGEST_INVALID.
func ParseAlgorithm(s string) (Algorithm, error) {
	switch a := Algorithm(s); a {
	case SHA256, SHA512:
		return a, nil
	}
	return "", Errorf(DigestInvalid, "unsupported digest algorithm; use sha256 or sha512").WithDetail(map[string]string{"algorithm": s})
}

// New returns a hash that computes a.
func (a Algorithm) New() hash.Hash {
	if a == SHA512 {
		return sha512.New()
	}
	return sha256.New()
}

// Digest is the address of content, such as "sha256:" and 64 lower case hexadecimal digits. The zero Digest is none.
type Digest struct{ s string }

// ParseDigest reads a digest. The error is a DIGEST_INVALID.
func ParseDigest(s string) (Digest, error) {
	name, digits, ok := strings.Cut(s, ":")
	if !ok {
		return Digest{}, Errorf(DigestInvalid, "invalid digest").WithDetail(map[string]string{"digest": s})
	}
	a, err := ParseAlgorithm(name)
	if err != nil {
		return Digest{}, err
	}
	want := 2 * sha256.Size
	if a == SHA512 {
		want = 2 * sha512.Size
	}
	if len(digits) != want || !isLowerHex(digits) {
		return Digest{}, Errorf(DigestInvalid, "invalid digest: %s takes %d lower case hexadecimal digits", a, want).WithDetail(map[string]string{"digest": s})
	}
	return Digest{s: s}, nil
}

// DigestOf returns the digest by algorithm a of b.
func DigestOf(a Algorithm, b []byte) Digest {
	if a == SHA512 {
		sum := sha512.Sum512(b)
		return Digest{s: "sha512:" + hex.EncodeToString(sum[:])}
	}
	sum := sha256.Sum256(b)
	return Digest{s: "sha256:" + hex.EncodeToString(sum[:])}
}

// DigestSum returns the digest whose algorithm is a and whose bytes h has computed.
func DigestSum(a Algorithm, h hash.Hash) Digest {
	return Digest{s: string(a) + ":" + hex.EncodeToString(h.Sum(nil))}
}

// String returns "algorithm:hex".
func (d Digest) String() string { return d.s }

// IsZero tells whether d is no digest.
func (d Digest) IsZero() bool { return d.s == "" }

// Algorithm returns the part before the colon.
func (d Digest) Algorithm() Algorithm {
	name, _, _ := strings.Cut(d.s, ":")
	return Algorithm(name)
}

// Hex returns the part after the colon.
func (d Digest) Hex() string {
	_, digits, _ := strings.Cut(d.s, ":")
	return digits
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
