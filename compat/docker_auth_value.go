package compat

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// boolean is a boolean of YAML 1.1, which docker_auth reads.
type boolean bool

// UnmarshalText reads true, yes, on, y and their opposites.
func (b *boolean) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "true", "yes", "on", "y":
		*b = true
	case "false", "no", "off", "n":
		*b = false
	default:
		return errors.New("want true or false")
	}
	return nil
}

// integer is a whole number of YAML 1.1: 900, 0x384 and 9e2 are one.
type integer int64

// UnmarshalText reads a whole number in any of these spellings.
func (i *integer) UnmarshalText(text []byte) error {
	s := strings.ReplaceAll(string(text), "_", "")
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		f, floatErr := strconv.ParseFloat(s, 64)
		n = int64(f)
		if floatErr != nil || float64(n) != f {
			return errors.New("want a whole number")
		}
	}
	*i = integer(n)
	return nil
}

// duration is a duration as Go writes it, such as 10s, or a number of nanoseconds.
type duration struct {
	time.Duration
	bare bool // a number without a unit
}

// UnmarshalText reads either.
func (d *duration) UnmarshalText(text []byte) error {
	t, err := time.ParseDuration(string(text))
	if err == nil {
		*d = duration{Duration: t}
		return nil
	}
	var i integer
	if i.UnmarshalText(text) != nil {
		return errors.New("want a duration, such as 30s, 5m or 24h")
	}
	*d = duration{Duration: time.Duration(i), bare: true}
	return nil
}
