package outbound

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"customhouse"
)

// SignatureHeader is the header of what Sign returns.
const SignatureHeader = "Customhouse-Signature"

// Sign returns what says who has sent body and when: t=SECONDS,v1=HEX, where HEX is the HMAC-SHA256 under secret of
// SECONDS, a full stop and body.
func Sign(secret customhouse.Secret, now time.Time, body []byte) string {
	seconds := strconv.FormatInt(now.Unix(), 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(seconds + "."))
	m.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(m.Sum(nil))
}
