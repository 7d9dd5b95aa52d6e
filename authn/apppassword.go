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

// An app password is AppPasswordPrefix, 160 random bits and a checksum of what is before it, in lower case without
// letters that are taken for others. So scanners of leaked secrets know it, and a typing error is seen without a look at
// any hash. It is long enough for SHA-256 to keep it.
const (
	AppPasswordPrefix = "chp_"

	appPasswordRandom = 32 // characters
	appPasswordLength = len(AppPasswordPrefix) + appPasswordRandom + 7
)

var appPasswordEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newAppPassword returns a password that nobody has had before.
func newAppPassword() customhouse.Secret {
	var random [20]byte
	rand.Read(random[:])
	text := AppPasswordPrefix + appPasswordEncoding.EncodeToString(random[:])
	return customhouse.Secret(text + appPasswordSum(text))
}

func appPasswordSum(text string) string {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.ChecksumIEEE([]byte(text)))
	return appPasswordEncoding.EncodeToString(sum[:])
}

// isAppPassword tells whether text has the form of an app password, checksum included.
func isAppPassword(text string) bool {
	if len(text) != appPasswordLength || !strings.HasPrefix(text, AppPasswordPrefix) {
		return false
	}
	n := len(AppPasswordPrefix) + appPasswordRandom
	return appPasswordSum(text[:n]) == text[n:]
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
