package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"

	"customhouse"
)

// A secret that we make is a prefix that says what it is, 160 random bits, and a checksum of what is before it, in lower
// case without letters that are taken for others. So scanners of leaked secrets know it, and a typing error is seen without
// a look at any hash. It is long enough for SHA-256 to keep it.
const (
	AppPasswordPrefix   = "chp_"
	PersonalTokenPrefix = "cht_"
	RobotSecretPrefix   = "chr_"

	// SecretExpression finds all of them, for scanners of leaked secrets (RE2).
	SecretExpression = `\bch[prt]_[0-9a-hjkmnp-tv-z]{39}\b`

	secretRandom = 32 // characters
	secretSum    = 7
)

const secretAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

var secretEncoding = base32.NewEncoding(secretAlphabet).WithPadding(base32.NoPadding)

// newSecret returns a secret that nobody has had before.
func newSecret(prefix string) customhouse.Secret {
	var random [20]byte
	rand.Read(random[:])
	text := prefix + secretEncoding.EncodeToString(random[:])
	return customhouse.Secret(text + sumOfSecret(text))
}

func sumOfSecret(text string) string {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.ChecksumIEEE([]byte(text)))
	return secretEncoding.EncodeToString(sum[:])
}

// looksLike tells whether text has the form of a secret with that prefix, be its checksum right or not.
func looksLike(prefix string, text customhouse.Secret) bool {
	rest, ok := strings.CutPrefix(string(text), prefix)
	return ok && len(rest) == secretRandom+secretSum && strings.Trim(rest, secretAlphabet) == ""
}

// isSecret tells whether text has the form of a secret with that prefix, checksum included.
func isSecret(prefix string, text customhouse.Secret) bool {
	if !looksLike(prefix, text) {
		return false
	}
	n := len(prefix) + secretRandom
	return sumOfSecret(string(text[:n])) == string(text[n:])
}

// hashAppPassword returns what is kept of an app password.
func hashAppPassword(text customhouse.Secret) customhouse.Secret {
	sum := sha256.Sum256([]byte(text))
	return customhouse.Secret("sha256:" + hex.EncodeToString(sum[:]))
}

// isHashOf tells whether a hash of the form of hashAppPassword is another's, in a time that does not depend on either.
func isHashOf(kept, computed customhouse.Secret) bool {
	return subtle.ConstantTimeCompare([]byte(kept), []byte(computed)) == 1
}

// stampOf returns what the identities have as their stamp whose password has this hash.
func stampOf(hash customhouse.Secret) string {
	sum := sha256.Sum256([]byte("customhouse stamp " + string(hash)))
	return hex.EncodeToString(sum[:8])
}
