package config

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Audit is the section audit.
type Audit struct {
	// Which decisions that let a request through are kept: all, none, or a share of them, such as 1% or 0.01. Those that
	// refuse, logins, tokens and changes are kept always.
	Allow Share `yaml:"allow"`

	// The file that entries are written to, one JSON object a line. Empty writes none, /dev/stderr to standard error.
	// Changes with a restart only.
	File string `yaml:"file"`

	// When the file is set aside as FILE.1.
	Rotate Rotate `yaml:"rotate"`

	// What is kept in the data folder, where customhouse audit and the API find it.
	Keep AuditKeep `yaml:"keep"`

	// Whether nothing may be done that is not in the log on disk: each request waits for that, and is refused with 503 when
	// the log cannot be written. Otherwise entries are on disk within half a second, and requests go on without the log.
	Required bool `yaml:"required"`
}

// Rotate is the section rotate of a file.
type Rotate struct {
	// At which size. 0 is at none.
	Size Size `yaml:"size"`

	// At which age of its first entry. 0 is at none.
	Age time.Duration `yaml:"age"`

	// How many files that were set aside are kept. 0 is all of them.
	Files int `yaml:"files"`
}

// AuditKeep is the section keep of audit.
type AuditKeep struct {
	// For how long. 0 is for ever.
	Age time.Duration `yaml:"age"`

	// How many entries. 0 keeps none there. What whoever has no account does has a share of it and is counted above that.
	Entries int `yaml:"entries"`
}

// Share is a part of a whole: 1 is all, 0 is none.
type Share float64

// UnmarshalText reads all, none, a number from 0 to 1, or a percentage.
func (s *Share) UnmarshalText(text []byte) error {
	switch string(text) {
	case "all":
		*s = 1
		return nil
	case "none":
		*s = 0
		return nil
	}
	number, percent := strings.CutSuffix(string(text), "%")
	x, err := strconv.ParseFloat(number, 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x >= 0 && x <= 1) { // NaN compares false
		return errors.New("want all, none or a share, such as 1% or 0.01")
	}
	*s = Share(x)
	return nil
}

// String writes s as UnmarshalText reads it.
func (s Share) String() string {
	switch s {
	case 1:
		return "all"
	case 0:
		return "none"
	}
	return strconv.FormatFloat(float64(s), 'f', -1, 64)
}

func (c *Config) checkAudit(p *problems) {
	a := c.Audit
	p.check(a.Rotate.Age >= 0, "audit.rotate.age", "must not be negative")
	p.check(a.Rotate.Files >= 0, "audit.rotate.files", "must not be negative")
	p.check(a.Keep.Age >= 0, "audit.keep.age", "must not be negative")
	p.check(a.Keep.Entries >= 0, "audit.keep.entries", "must not be negative")
	p.check(!a.Required || a.File != "" || a.Keep.Entries > 0, "audit.required", "nothing is kept: set audit.file or audit.keep.entries")
}

// RequestLimits is the section requests of limits.
type RequestLimits struct {
	// Requests a second of one account. 0 is no limit.
	Rate int `yaml:"rate"`

	// How many may come at once. 0 is ten seconds of rate.
	Burst int `yaml:"burst"`

	// Requests a second without an account from one client, which is an IPv4 address or an IPv6 /64. 0 is no limit.
	AnonymousRate int `yaml:"anonymous_rate"`

	// How many of these may come at once. 0 is ten seconds of anonymous_rate.
	AnonymousBurst int `yaml:"anonymous_burst"`
}

func (r RequestLimits) check(p *problems) {
	p.check(r.Rate >= 0, "limits.requests.rate", "must not be negative")
	p.check(r.Burst >= 0, "limits.requests.burst", "must not be negative")
	p.check(r.AnonymousRate >= 0, "limits.requests.anonymous_rate", "must not be negative")
	p.check(r.AnonymousBurst >= 0, "limits.requests.anonymous_burst", "must not be negative")
}
